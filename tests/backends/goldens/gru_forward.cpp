extern "C" void run(const Call *call) {
    const Call c = *call;
    const long B = c.batch;
    const long n_H = c.sizes[0];
    const long n_I = c.sizes[1];
    const long ld0 = panels((2 * n_H)) * PW;
    float *const scratch0 = c.scratch + 0;
    const long ld1 = panels((n_H)) * PW;
    float *const scratch1 = c.scratch + (scratch0 - c.scratch) + B * ld0;
    const long ld2 = panels((n_H)) * PW;
    float *const scratch2 = c.scratch + (scratch1 - c.scratch) + B * ld1;
    const long ld3 = panels((n_H)) * PW;
    float *const scratch3 = c.scratch + (scratch2 - c.scratch) + B * ld2;
    const long ld4 = panels((n_H)) * PW;
    float *const scratch4 = c.scratch + (scratch3 - c.scratch) + B * ld3;
    on_threads(c.threads, *c.kernels->crowding, [&](Barrier &barrier, const int threads, const int me) {
        const long unit = c.by_panel && (n_H) % VL == 0 ? (n_H) : 0;
        const Share share = {me, threads, c.by_panel != 0, unit};
        [[maybe_unused]] const Thread thread(*c.kernels);
        [[maybe_unused]] float *const space = space_of(c, threads, me);
        [[maybe_unused]] Meter meter(c, me);
        if (!c.packed_already) {
            c.kernels->pack(c.matrices[0], (3 * n_H), (n_I), panels((3 * n_H)) * me / threads, panels((3 * n_H)) * (me + 1) / threads);
            c.kernels->pack(c.matrices[1], (2 * n_H), (n_H), panels((2 * n_H)) * me / threads, panels((2 * n_H)) * (me + 1) / threads);
            c.kernels->pack(c.matrices[2], (n_H), (n_H), panels((n_H)) * me / threads, panels((n_H)) * (me + 1) / threads);
            meter.wait(barrier, threads);
        }
        for (long k0 = 0; k0 < c.steps; k0 += c.chunk) {
            const long k1 = k0 + c.chunk < c.steps ? k0 + c.chunk : c.steps;
            const long t0 = c.direction > 0 ? c.first + k0 : c.first - k1 + 1;
            const long live = c.live ? c.live[t0] : B;
            const Range own_rows = share.rows(live), ended = share.rows(B - live);
            const Chunk chunk = {t0, t0 + k1 - k0, B, live, share};
            meter.in(BEFORE);
            meter.wait(barrier, threads);
            c.kernels->bulk_product(chunk, c.arrays[0], (0), c.matrices[0], (3 * n_H), (n_I), c.biases[0], c.arrays[1], space);
            meter.wait(barrier, threads);
            meter.in(ELEMENTWISE);
            for (long k = k0; k < k1; ++k) {
                const long t = c.first + k * c.direction;
                [[maybe_unused]] const long R = c.live ? c.live[t] : B;
                [[maybe_unused]] const Range rows = own_rows.within(0, R);
                [[maybe_unused]] const Range all_or_own = c.by_panel ? Range{0, R} : rows;
                const bool descending = (k & 1) != (c.direction < 0);
                const long at0 = c.carried[0].whole ? t + (c.direction < 0) : (k & 1);
                const long to0 = c.carried[0].whole ? t + (c.direction > 0) : !(k & 1);
                float *const previous0 = c.carried[0].data + at0 * B * (n_H);
                float *const next0 = c.carried[0].data + to0 * B * (n_H);
                float *const array0 = at(c.arrays[0], t, t0);
                float *const array1 = at(c.arrays[1], t, t0);
                float *const array2 = at(c.arrays[2], t, t0);
                float *const array3 = at(c.arrays[3], t, t0);
                float *const array4 = at(c.arrays[4], t, t0);
                float *const array5 = at(c.arrays[5], t, t0);
                const int64_t *const ids = c.ids ? c.ids + t * B : nullptr;
                meter.in(PRODUCTS);
                // (2 * n_H) x (n_H)
                c.kernels->product(previous0, (n_H), c.matrices[1].packed, (n_H), (2 * n_H), all_or_own, share.columns((2 * n_H)), descending, scratch0, ld0, space);
                meter.in(ELEMENTWISE);
                if (c.by_panel && !unit) meter.wait(barrier, threads);
                for (long r = unit ? 0 : rows.first; r < (unit ? R : rows.last); ++r) {
                    {
                        const long n = (n_H);
                        float *const p0 = array1 + r * c.arrays[1].row + (n_H);
                        float *const p1 = scratch0 + r * ld0 + (n_H);
                        float *const p2 = array4 + r * c.arrays[4].row;
                        float *const p3 = previous0 + r * (n_H);
                        float *const p4 = scratch4 + r * ld4;
                        float *const p5 = scratch3 + r * ld3;
                        float *const p6 = array1 + r * c.arrays[1].row;
                        float *const p7 = scratch0 + r * ld0;
                        float *const p8 = array3 + r * c.arrays[3].row;
                        float *const p9 = scratch2 + r * ld2;
                        const Range own = unit ? share.columns(n).each : Range{0, n};
                        auto body = [&](auto tail, long j) __attribute__((always_inline)) {
                            constexpr bool TAIL = decltype(tail)::value;
                            const vf m0 = get<TAIL>(p0 + j, n - j);
                            const vf m1 = get<TAIL>(p1 + j, n - j);
                            const vf m3 = get<TAIL>(p3 + j, n - j);
                            const vf m6 = get<TAIL>(p6 + j, n - j);
                            const vf m7 = get<TAIL>(p7 + j, n - j);
                            const vf v0 = m0 + m1;
                            const vf v1 = v_sigmoid(v0);
                            put<TAIL>(p2 + j, v1, n - j);
                            const vf v2 = v1 * m3;
                            put<TAIL>(p4 + j, v2, n - j);
                            const vf v3 = splat(1.0f) - v1;
                            put<TAIL>(p5 + j, v3, n - j);
                            const vf v4 = m6 + m7;
                            const vf v5 = v_sigmoid(v4);
                            put<TAIL>(p8 + j, v5, n - j);
                            const vf v6 = v5 * m3;
                            put<TAIL>(p9 + j, v6, n - j);
                        };
                        long j = own.first;
                        for (; j + VL <= own.last; j += VL) body(std::false_type{}, j);
                        if (j < own.last) body(std::true_type{}, j);
                    }
                }
                if (c.by_panel) meter.wait(barrier, threads);
                meter.in(PRODUCTS);
                // (n_H) x (n_H)
                c.kernels->product(scratch2, ld2, c.matrices[2].packed, (n_H), (n_H), all_or_own, share.columns((n_H)), descending, scratch1, ld1, space);
                meter.in(ELEMENTWISE);
                if (c.by_panel && !unit) meter.wait(barrier, threads);
                for (long r = unit ? 0 : rows.first; r < (unit ? R : rows.last); ++r) {
                    {
                        const long n = (n_H);
                        float *const p0 = array1 + r * c.arrays[1].row + (2 * n_H);
                        float *const p1 = scratch1 + r * ld1;
                        float *const p2 = array2 + r * c.arrays[2].row;
                        float *const p3 = scratch3 + r * ld3;
                        float *const p4 = scratch4 + r * ld4;
                        float *const p5 = next0 + r * (n_H);
                        float *const p6 = array5 + r * c.arrays[5].row;
                        const Range own = unit ? share.columns(n).each : Range{0, n};
                        auto body = [&](auto tail, long j) __attribute__((always_inline)) {
                            constexpr bool TAIL = decltype(tail)::value;
                            const vf m0 = get<TAIL>(p0 + j, n - j);
                            const vf m1 = get<TAIL>(p1 + j, n - j);
                            const vf m3 = get<TAIL>(p3 + j, n - j);
                            const vf m4 = get<TAIL>(p4 + j, n - j);
                            const vf v0 = m0 + m1;
                            const vf v1 = v_tanh(v0);
                            put<TAIL>(p2 + j, v1, n - j);
                            const vf v2 = m3 * v1;
                            const vf v3 = m4 + v2;
                            put<TAIL>(p5 + j, v3, n - j);
                            const vf v4 = v3;
                            put<TAIL>(p6 + j, v4, n - j);
                        };
                        long j = own.first;
                        for (; j + VL <= own.last; j += VL) body(std::false_type{}, j);
                        if (j < own.last) body(std::true_type{}, j);
                    }
                }
                if (c.by_panel) meter.wait(barrier, threads);
                const auto stay = [&](long r) {
                    std::memcpy(next0 + r * (n_H), previous0 + r * (n_H), (n_H) * sizeof(float));
                };
                const auto clear = [&]([[maybe_unused]] long r, [[maybe_unused]] bool summed) {
                    if (summed || !c.arrays[2].local) std::memset(array2 + r * c.arrays[2].row, 0, (n_H) * sizeof(float));
                    if (summed || !c.arrays[3].local) std::memset(array3 + r * c.arrays[3].row, 0, (n_H) * sizeof(float));
                    if (summed || !c.arrays[4].local) std::memset(array4 + r * c.arrays[4].row, 0, (n_H) * sizeof(float));
                    if (summed || !c.arrays[5].local) std::memset(array5 + r * c.arrays[5].row, 0, (n_H) * sizeof(float));
                };
                if (c.lengths) {
                    for (long r = own_rows.first; r < own_rows.last; ++r) if (t >= c.lengths[r]) {
                        stay(r);
                        if (c.live) clear(r, true);
                    }
                    for (long r = live + ended.first; r < live + ended.last; ++r) {
                        stay(r);
                        clear(r, false);
                    }
                }
                if (c.lengths && c.by_panel) meter.wait(barrier, threads);
            }
        }
    });
}
