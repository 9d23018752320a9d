extern "C" void run(const Call *call) {
    const Call c = *call;
    const long B = c.batch;
    const long n_H = c.sizes[0];
    const long n_I = c.sizes[1];
    const long S = c.sizes[2];
    const long ld0 = panels((4 * n_H)) * PW;
    float *const scratch0 = c.scratch + 0;
    const long ld1 = panels((4 * n_H)) * PW;
    float *const scratch1 = c.scratch + (scratch0 - c.scratch) + B * ld0;
    const long ld2 = panels((S)) * PW;
    float *const scratch2 = c.scratch + (scratch1 - c.scratch) + B * ld1;
    const long ld3 = panels((1)) * PW;
    float *const scratch3 = c.scratch + (scratch2 - c.scratch) + B * ld2;
    const long ld4 = panels((1)) * PW;
    float *const scratch4 = c.scratch + (scratch3 - c.scratch) + B * ld3;
    const long ld5 = panels((n_H)) * PW;
    float *const scratch5 = c.scratch + (scratch4 - c.scratch) + B * ld4;
    const long ld6 = panels((n_H)) * PW;
    float *const scratch6 = c.scratch + (scratch5 - c.scratch) + B * ld5;
    const long ld7 = panels((n_H)) * PW;
    float *const scratch7 = c.scratch + (scratch6 - c.scratch) + B * ld6;
    const long ld8 = panels((S)) * PW;
    float *const scratch8 = c.scratch + (scratch7 - c.scratch) + B * ld7;
    const long ld9 = panels((S)) * PW;
    float *const scratch9 = c.scratch + (scratch8 - c.scratch) + B * ld8;
    on_threads(c.threads, *c.kernels->crowding, [&](Barrier &barrier, const int threads, const int me) {
        const long unit = c.by_panel && 0 % VL == 0 ? 0 : 0;
        const Share share = {me, threads, c.by_panel != 0, unit};
        [[maybe_unused]] const Thread thread(*c.kernels);
        [[maybe_unused]] float *const space = space_of(c, threads, me);
        [[maybe_unused]] Meter meter(c, me);
        if (!c.packed_already) {
            c.kernels->pack(c.matrices[0], (4 * n_H), (n_I), panels((4 * n_H)) * me / threads, panels((4 * n_H)) * (me + 1) / threads);
            c.kernels->pack(c.matrices[1], (4 * n_H), (n_H), panels((4 * n_H)) * me / threads, panels((4 * n_H)) * (me + 1) / threads);
            c.kernels->pack(c.matrices[2], (4 * n_H), (n_H), panels((4 * n_H)) * me / threads, panels((4 * n_H)) * (me + 1) / threads);
            c.kernels->pack(c.matrices[3], (n_H), (n_H), panels((n_H)) * me / threads, panels((n_H)) * (me + 1) / threads);
            c.kernels->pack(c.matrices[4], (n_H), (n_H), panels((n_H)) * me / threads, panels((n_H)) * (me + 1) / threads);
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
            c.kernels->bulk_product(chunk, c.arrays[2], (0), c.matrices[0], (4 * n_H), (n_I), c.biases[0], c.arrays[3], space);
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
                const long at1 = c.carried[1].whole ? t + (c.direction < 0) : (k & 1);
                const long to1 = c.carried[1].whole ? t + (c.direction > 0) : !(k & 1);
                float *const previous1 = c.carried[1].data + at1 * B * (n_H);
                float *const next1 = c.carried[1].data + to1 * B * (n_H);
                const long at2 = c.carried[2].whole ? t + (c.direction < 0) : (k & 1);
                const long to2 = c.carried[2].whole ? t + (c.direction > 0) : !(k & 1);
                float *const previous2 = c.carried[2].data + at2 * B * (n_H);
                float *const next2 = c.carried[2].data + to2 * B * (n_H);
                float *const array0 = at(c.arrays[0], t, t0);
                float *const array1 = at(c.arrays[1], t, t0);
                float *const array2 = at(c.arrays[2], t, t0);
                float *const array3 = at(c.arrays[3], t, t0);
                float *const array4 = at(c.arrays[4], t, t0);
                float *const array5 = at(c.arrays[5], t, t0);
                float *const array6 = at(c.arrays[6], t, t0);
                float *const array7 = at(c.arrays[7], t, t0);
                float *const array8 = at(c.arrays[8], t, t0);
                float *const array9 = at(c.arrays[9], t, t0);
                float *const array10 = at(c.arrays[10], t, t0);
                float *const array11 = at(c.arrays[11], t, t0);
                const int64_t *const ids = c.ids ? c.ids + t * B : nullptr;
                meter.in(PRODUCTS);
                for (long i = 0; i < 2; ++i) switch (Range{0, 2}.at(i, descending)) {
                    case 0:
                        // (4 * n_H) x (n_H)
                        c.kernels->product(previous0, (n_H), c.matrices[1].packed, (n_H), (4 * n_H), all_or_own, share.columns((4 * n_H)), descending, scratch0, ld0, space);
                    break;
                    case 1:
                        // (4 * n_H) x (n_H)
                        c.kernels->product(previous1, (n_H), c.matrices[2].packed, (n_H), (4 * n_H), all_or_own, share.columns((4 * n_H)), descending, scratch1, ld1, space);
                    break;
                }
                meter.in(ELEMENTWISE);
                if (c.by_panel && !unit) meter.wait(barrier, threads);
                for (long r = rows.first; r < rows.last; ++r) {
                    {
                        const long n = (n_H);
                        float *const p0 = array3 + r * c.arrays[3].row + (2 * n_H);
                        float *const p1 = scratch0 + r * ld0 + (2 * n_H);
                        float *const p2 = scratch1 + r * ld1 + (2 * n_H);
                        float *const p3 = array6 + r * c.arrays[6].row;
                        float *const p4 = array3 + r * c.arrays[3].row + (n_H);
                        float *const p5 = scratch0 + r * ld0 + (n_H);
                        float *const p6 = scratch1 + r * ld1 + (n_H);
                        float *const p7 = array9 + r * c.arrays[9].row;
                        float *const p8 = previous2 + r * (n_H);
                        float *const p9 = array3 + r * c.arrays[3].row;
                        float *const p10 = scratch0 + r * ld0;
                        float *const p11 = scratch1 + r * ld1;
                        float *const p12 = array7 + r * c.arrays[7].row;
                        float *const p13 = array3 + r * c.arrays[3].row + (3 * n_H);
                        float *const p14 = scratch0 + r * ld0 + (3 * n_H);
                        float *const p15 = scratch1 + r * ld1 + (3 * n_H);
                        float *const p16 = array8 + r * c.arrays[8].row;
                        float *const p17 = next2 + r * (n_H);
                        float *const p18 = next1 + r * (n_H);
                        const Range own = Range{0, n};
                        auto body = [&](auto tail, long j) __attribute__((always_inline)) {
                            constexpr bool TAIL = decltype(tail)::value;
                            const vf m0 = get<TAIL>(p0 + j, n - j);
                            const vf m1 = get<TAIL>(p1 + j, n - j);
                            const vf m2 = get<TAIL>(p2 + j, n - j);
                            const vf m4 = get<TAIL>(p4 + j, n - j);
                            const vf m5 = get<TAIL>(p5 + j, n - j);
                            const vf m6 = get<TAIL>(p6 + j, n - j);
                            const vf m8 = get<TAIL>(p8 + j, n - j);
                            const vf m9 = get<TAIL>(p9 + j, n - j);
                            const vf m10 = get<TAIL>(p10 + j, n - j);
                            const vf m11 = get<TAIL>(p11 + j, n - j);
                            const vf m13 = get<TAIL>(p13 + j, n - j);
                            const vf m14 = get<TAIL>(p14 + j, n - j);
                            const vf m15 = get<TAIL>(p15 + j, n - j);
                            const vf v0 = m0 + m1;
                            const vf v1 = v0 + m2;
                            const vf v2 = v_sigmoid(v1);
                            put<TAIL>(p3 + j, v2, n - j);
                            const vf v3 = m4 + m5;
                            const vf v4 = v3 + m6;
                            const vf v5 = v_sigmoid(v4);
                            put<TAIL>(p7 + j, v5, n - j);
                            const vf v6 = v5 * m8;
                            const vf v7 = m9 + m10;
                            const vf v8 = v7 + m11;
                            const vf v9 = v_sigmoid(v8);
                            put<TAIL>(p12 + j, v9, n - j);
                            const vf v10 = m13 + m14;
                            const vf v11 = v10 + m15;
                            const vf v12 = v_tanh(v11);
                            put<TAIL>(p16 + j, v12, n - j);
                            const vf v13 = v9 * v12;
                            const vf v14 = v6 + v13;
                            put<TAIL>(p17 + j, v14, n - j);
                            const vf v15 = v_tanh(v14);
                            const vf v16 = v2 * v15;
                            put<TAIL>(p18 + j, v16, n - j);
                        };
                        long j = own.first;
                        for (; j + VL <= own.last; j += VL) body(std::false_type{}, j);
                        if (j < own.last) body(std::true_type{}, j);
                    }
                    {
                        const long N = (S), n = (n_H);
                        float *const p0 = array0 + r * (S) * c.arrays[0].row;
                        float *const p3 = next1 + r * (n_H);
                        for (long s = 0; s < N; ++s) {
                            vf v0 = vf{};
                            float *const q1 = p0 + s * c.arrays[0].row;
                            auto body = [&](auto tail, long j) __attribute__((always_inline)) {
                                constexpr bool TAIL = decltype(tail)::value;
                                const vf m4 = get<TAIL>(p3 + j, n - j);
                                const vf m2 = get<TAIL>(q1 + j, n - j);
                                v0 = v0 + kept<TAIL>(m2 * m4, n - j, vf{});
                            };
                            long j = 0;
                            for (; j + VL <= n; j += VL) body(std::false_type{}, j);
                            if (j < n) body(std::true_type{}, j);
                            (scratch2 + r * ld2)[s] = lane_sum(v0);
                        }
                    }
                }
                if (c.by_panel) meter.wait(barrier, threads);
                meter.in(PRODUCTS);
                // (n_H) x (n_H)
                c.kernels->product(next1, (n_H), c.matrices[4].packed, (n_H), (n_H), all_or_own, share.columns((n_H)), descending, scratch7, ld7, space);
                meter.in(ELEMENTWISE);
                if (c.by_panel && !unit) meter.wait(barrier, threads);
                for (long r = rows.first; r < rows.last; ++r) {
                    {
                        const long n = (S);
                        float *const p0 = row_of(c.arrays[1], array1, ids, r);
                        float *const p1 = scratch2 + r * ld2;
                        float *const p2 = scratch8 + rows.first * ld8;
                        float *const p3 = scratch3 + rows.first * ld3;
                        const Range own = Range{0, n};
                        vf v1 = lowest();
                        auto body = [&](auto tail, long j) __attribute__((always_inline)) {
                            constexpr bool TAIL = decltype(tail)::value;
                            const vf m0 = get<TAIL>(p0 + j, n - j);
                            const vf m1 = get<TAIL>(p1 + j, n - j);
                            const vf v0 = where(m0, m1, splat(-1e+38f));
                            put<TAIL>(p2 + j, v0, n - j);
                            v1 = v_maximum(v1, kept<TAIL>(v0, n - j, lowest()));
                        };
                        long j = own.first;
                        for (; j + VL <= own.last; j += VL) body(std::false_type{}, j);
                        if (j < own.last) body(std::true_type{}, j);
                        *p3 = lane_max(v1);
                    }
                    {
                        const long n = (S);
                        float *const p0 = scratch8 + rows.first * ld8;
                        float *const p1 = array5 + r * c.arrays[5].row;
                        float *const p2 = scratch4 + r * ld4;
                        const vf s0 = splat(*(scratch3 + rows.first * ld3));
                        const Range own = Range{0, n};
                        vf v2 = vf{};
                        auto body = [&](auto tail, long j) __attribute__((always_inline)) {
                            constexpr bool TAIL = decltype(tail)::value;
                            const vf m0 = get<TAIL>(p0 + j, n - j);
                            const vf v0 = m0 - s0;
                            const vf v1 = v_exp(v0);
                            put<TAIL>(p1 + j, v1, n - j);
                            v2 = v2 + kept<TAIL>(v1, n - j, vf{});
                        };
                        long j = own.first;
                        for (; j + VL <= own.last; j += VL) body(std::false_type{}, j);
                        if (j < own.last) body(std::true_type{}, j);
                        *p2 = lane_sum(v2);
                    }
                    {
                        const long n = (S);
                        float *const p0 = array5 + r * c.arrays[5].row;
                        float *const p1 = scratch9 + rows.first * ld9;
                        const vf s0 = splat(*(scratch4 + r * ld4));
                        const vf s1 = splat(1.0f / *(scratch4 + r * ld4));
                        const Range own = Range{0, n};
                        auto body = [&](auto tail, long j) __attribute__((always_inline)) {
                            constexpr bool TAIL = decltype(tail)::value;
                            const vf m0 = get<TAIL>(p0 + j, n - j);
                            const vf v0 = divided(m0, s0, s1);
                            put<TAIL>(p1 + j, v0, n - j);
                        };
                        long j = own.first;
                        for (; j + VL <= own.last; j += VL) body(std::false_type{}, j);
                        if (j < own.last) body(std::true_type{}, j);
                    }
                    {
                        const long N = (S), n = (n_H);
                        float *const p0 = scratch5 + r * ld5;
                        float *const p1 = scratch9 + rows.first * ld9;
                        float *const p3 = array0 + r * (S) * c.arrays[0].row;
                        auto body = [&](auto tail, long j) __attribute__((always_inline)) {
                            constexpr bool TAIL = decltype(tail)::value;
                            vf v0 = vf{};
                            for (long s = 0; s < N; ++s) {
                                const vf c2 = splat(p1[s]);
                                float *const q4 = p3 + s * c.arrays[0].row;
                                const vf m5 = get<TAIL>(q4 + j, n - j);
                                v0 = v0 + c2 * m5;
                            }
                            put<TAIL>(p0 + j, v0, n - j);
                        };
                        long j = 0;
                        for (; j + VL <= n; j += VL) body(std::false_type{}, j);
                        if (j < n) body(std::true_type{}, j);
                    }
                }
                if (c.by_panel) meter.wait(barrier, threads);
                meter.in(PRODUCTS);
                // (n_H) x (n_H)
                c.kernels->product(scratch5, ld5, c.matrices[3].packed, (n_H), (n_H), all_or_own, share.columns((n_H)), descending, scratch6, ld6, space);
                meter.in(ELEMENTWISE);
                if (c.by_panel && !unit) meter.wait(barrier, threads);
                for (long r = rows.first; r < rows.last; ++r) {
                    {
                        const long n = (n_H);
                        float *const p0 = scratch6 + r * ld6;
                        float *const p1 = scratch7 + r * ld7;
                        float *const p2 = next0 + r * (n_H);
                        float *const p3 = array11 + r * c.arrays[11].row;
                        const Range own = Range{0, n};
                        auto body = [&](auto tail, long j) __attribute__((always_inline)) {
                            constexpr bool TAIL = decltype(tail)::value;
                            const vf m0 = get<TAIL>(p0 + j, n - j);
                            const vf m1 = get<TAIL>(p1 + j, n - j);
                            const vf v0 = m0 + m1;
                            const vf v1 = v_tanh(v0);
                            put<TAIL>(p2 + j, v1, n - j);
                            const vf v2 = v1;
                            put<TAIL>(p3 + j, v2, n - j);
                        };
                        long j = own.first;
                        for (; j + VL <= own.last; j += VL) body(std::false_type{}, j);
                        if (j < own.last) body(std::true_type{}, j);
                    }
                    std::memcpy(array4 + r * c.arrays[4].row, scratch4 + r * ld4, 1 * sizeof(float));
                    std::memcpy(array10 + r * c.arrays[10].row, scratch5 + r * ld5, (n_H) * sizeof(float));
                }
                if (c.by_panel) meter.wait(barrier, threads);
                const auto stay = [&](long r) {
                    std::memcpy(next0 + r * (n_H), previous0 + r * (n_H), (n_H) * sizeof(float));
                    std::memcpy(next1 + r * (n_H), previous1 + r * (n_H), (n_H) * sizeof(float));
                    std::memcpy(next2 + r * (n_H), previous2 + r * (n_H), (n_H) * sizeof(float));
                };
                const auto clear = [&]([[maybe_unused]] long r, [[maybe_unused]] bool summed) {
                    if (summed || !c.arrays[4].local) std::memset(array4 + r * c.arrays[4].row, 0, 1 * sizeof(float));
                    if (summed || !c.arrays[5].local) std::memset(array5 + r * c.arrays[5].row, 0, (S) * sizeof(float));
                    if (summed || !c.arrays[6].local) std::memset(array6 + r * c.arrays[6].row, 0, (n_H) * sizeof(float));
                    if (summed || !c.arrays[7].local) std::memset(array7 + r * c.arrays[7].row, 0, (n_H) * sizeof(float));
                    if (summed || !c.arrays[8].local) std::memset(array8 + r * c.arrays[8].row, 0, (n_H) * sizeof(float));
                    if (summed || !c.arrays[9].local) std::memset(array9 + r * c.arrays[9].row, 0, (n_H) * sizeof(float));
                    if (summed || !c.arrays[10].local) std::memset(array10 + r * c.arrays[10].row, 0, (n_H) * sizeof(float));
                    if (summed || !c.arrays[11].local) std::memset(array11 + r * c.arrays[11].row, 0, (n_H) * sizeof(float));
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
