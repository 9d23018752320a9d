extern "C" void run(const Call *call) {
    const Call c = *call;
    const long B = c.batch;
    const long n_H = c.sizes[0];
    const long n_I = c.sizes[1];
    const long ld0 = panels((1)) * PW;
    float *const scratch0 = c.scratch + 0;
    const long ld1 = panels((1)) * PW;
    float *const scratch1 = c.scratch + (scratch0 - c.scratch) + B * ld0;
    const long ld2 = panels((1)) * PW;
    float *const scratch2 = c.scratch + (scratch1 - c.scratch) + B * ld1;
    const long ld3 = panels((1)) * PW;
    float *const scratch3 = c.scratch + (scratch2 - c.scratch) + B * ld2;
    const long ld4 = panels((1)) * PW;
    float *const scratch4 = c.scratch + (scratch3 - c.scratch) + B * ld3;
    const long ld5 = panels((1)) * PW;
    float *const scratch5 = c.scratch + (scratch4 - c.scratch) + B * ld4;
    const long ld6 = panels((1)) * PW;
    float *const scratch6 = c.scratch + (scratch5 - c.scratch) + B * ld5;
    const long ld7 = panels((1)) * PW;
    float *const scratch7 = c.scratch + (scratch6 - c.scratch) + B * ld6;
    const long ld8 = panels((1)) * PW;
    float *const scratch8 = c.scratch + (scratch7 - c.scratch) + B * ld7;
    const long ld9 = panels((n_H)) * PW;
    float *const scratch9 = c.scratch + (scratch8 - c.scratch) + B * ld8;
    const long ld10 = panels((1)) * PW;
    float *const scratch10 = c.scratch + (scratch9 - c.scratch) + B * ld9;
    const long ld11 = panels((n_H)) * PW;
    float *const scratch11 = c.scratch + (scratch10 - c.scratch) + B * ld10;
    const long ld12 = panels((1)) * PW;
    float *const scratch12 = c.scratch + (scratch11 - c.scratch) + B * ld11;
    const long ld13 = panels((n_H)) * PW;
    float *const scratch13 = c.scratch + (scratch12 - c.scratch) + B * ld12;
    const long ld14 = panels((1)) * PW;
    float *const scratch14 = c.scratch + (scratch13 - c.scratch) + B * ld13;
    const long ld15 = panels((n_H)) * PW;
    float *const scratch15 = c.scratch + (scratch14 - c.scratch) + B * ld14;
    const long ld16 = panels((1)) * PW;
    float *const scratch16 = c.scratch + (scratch15 - c.scratch) + B * ld15;
    const long ld17 = panels((n_H)) * PW;
    float *const scratch17 = c.scratch + (scratch16 - c.scratch) + B * ld16;
    const long ld18 = panels((1)) * PW;
    float *const scratch18 = c.scratch + (scratch17 - c.scratch) + B * ld17;
    const long ld19 = panels((n_H)) * PW;
    float *const scratch19 = c.scratch + (scratch18 - c.scratch) + B * ld18;
    const long ld20 = panels((1)) * PW;
    float *const scratch20 = c.scratch + (scratch19 - c.scratch) + B * ld19;
    const long ld21 = panels((n_H)) * PW;
    float *const scratch21 = c.scratch + (scratch20 - c.scratch) + B * ld20;
    const long ld22 = panels((1)) * PW;
    float *const scratch22 = c.scratch + (scratch21 - c.scratch) + B * ld21;
    const long ld23 = panels((n_H)) * PW;
    float *const scratch23 = c.scratch + (scratch22 - c.scratch) + B * ld22;
    on_threads(c.threads, *c.kernels->crowding, [&](Barrier &barrier, const int threads, const int me) {
        const long unit = c.by_panel && 0 % VL == 0 ? 0 : 0;
        const Share share = {me, threads, c.by_panel != 0, unit};
        [[maybe_unused]] const Thread thread(*c.kernels);
        [[maybe_unused]] float *const space = space_of(c, threads, me);
        [[maybe_unused]] Meter meter(c, me);
        if (!c.packed_already) {
            c.kernels->pack(c.matrices[0], (n_I), (4 * n_H), panels((n_I)) * me / threads, panels((n_I)) * (me + 1) / threads);
            c.kernels->pack(c.matrices[1], (n_H), (4 * n_H), panels((n_H)) * me / threads, panels((n_H)) * (me + 1) / threads);
            meter.wait(barrier, threads);
        }
        for (long k0 = 0; k0 < c.steps; k0 += c.chunk) {
            const long k1 = k0 + c.chunk < c.steps ? k0 + c.chunk : c.steps;
            const long t0 = c.direction > 0 ? c.first + k0 : c.first - k1 + 1;
            const long live = c.live ? c.live[t0] : B;
            const Range own_rows = share.rows(live), ended = share.rows(B - live);
            const Chunk chunk = {t0, t0 + k1 - k0, B, live, share};
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
                float *const array12 = at(c.arrays[12], t, t0);
                float *const array13 = at(c.arrays[13], t, t0);
                float *const array14 = at(c.arrays[14], t, t0);
                float *const array15 = at(c.arrays[15], t, t0);
                float *const array16 = at(c.arrays[16], t, t0);
                float *const array17 = at(c.arrays[17], t, t0);
                float *const array18 = at(c.arrays[18], t, t0);
                float *const array19 = at(c.arrays[19], t, t0);
                float *const array20 = at(c.arrays[20], t, t0);
                float *const array21 = at(c.arrays[21], t, t0);
                float *const array22 = at(c.arrays[22], t, t0);
                float *const array23 = at(c.arrays[23], t, t0);
                float *const array24 = at(c.arrays[24], t, t0);
                float *const array25 = at(c.arrays[25], t, t0);
                float *const array26 = at(c.arrays[26], t, t0);
                float *const array27 = at(c.arrays[27], t, t0);
                float *const array28 = at(c.arrays[28], t, t0);
                float *const array29 = at(c.arrays[29], t, t0);
                const int64_t *const ids = c.ids ? c.ids + t * B : nullptr;
                for (long r = rows.first; r < rows.last; ++r) {
                    {
                        const long n = (n_H);
                        float *const p0 = row_of(c.arrays[0], array0, ids, r);
                        float *const p1 = row_of(c.arrays[2], array2, ids, r);
                        float *const p2 = row_of(c.arrays[3], array3, ids, r);
                        float *const p3 = row_of(c.arrays[4], array4, ids, r);
                        float *const p4 = row_of(c.arrays[6], array6, ids, r);
                        float *const p5 = row_of(c.arrays[7], array7, ids, r);
                        float *const p6 = row_of(c.arrays[8], array8, ids, r);
                        float *const p7 = row_of(c.arrays[10], array10, ids, r);
                        float *const p8 = row_of(c.arrays[11], array11, ids, r);
                        float *const p9 = row_of(c.arrays[12], array12, ids, r);
                        float *const p10 = row_of(c.arrays[13], array13, ids, r);
                        float *const p11 = previous0 + r * (n_H);
                        float *const p12 = previous1 + r * (n_H);
                        float *const p13 = array27 + r * c.arrays[27].row;
                        float *const p14 = scratch9 + rows.first * ld9;
                        float *const p15 = scratch0 + rows.first * ld0;
                        float *const p16 = row_of(c.arrays[14], array14, ids, r);
                        float *const p17 = row_of(c.arrays[16], array16, ids, r);
                        float *const p18 = row_of(c.arrays[17], array17, ids, r);
                        float *const p19 = row_of(c.arrays[18], array18, ids, r);
                        float *const p20 = array25 + r * c.arrays[25].row;
                        float *const p21 = scratch13 + rows.first * ld13;
                        float *const p22 = scratch2 + rows.first * ld2;
                        float *const p23 = array23 + r * c.arrays[23].row;
                        float *const p24 = scratch17 + rows.first * ld17;
                        float *const p25 = scratch4 + rows.first * ld4;
                        float *const p26 = array29 + r * c.arrays[29].row;
                        float *const p27 = scratch21 + rows.first * ld21;
                        float *const p28 = scratch6 + rows.first * ld6;
                        float *const p29 = next1 + r * (n_H);
                        float *const p30 = array22 + r * c.arrays[22].row;
                        float *const p31 = array24 + r * c.arrays[24].row;
                        float *const p32 = array26 + r * c.arrays[26].row;
                        float *const p33 = array28 + r * c.arrays[28].row;
                        const vf s0 = splat(*(row_of(c.arrays[1], array1, ids, r)));
                        const vf s1 = splat(1.0f / *(row_of(c.arrays[1], array1, ids, r)));
                        const vf s2 = splat(*(row_of(c.arrays[5], array5, ids, r)));
                        const vf s3 = splat(1.0f / *(row_of(c.arrays[5], array5, ids, r)));
                        const vf s4 = splat(*(row_of(c.arrays[9], array9, ids, r)));
                        const vf s5 = splat(1.0f / *(row_of(c.arrays[9], array9, ids, r)));
                        const vf s6 = splat(*(row_of(c.arrays[15], array15, ids, r)));
                        const vf s7 = splat(1.0f / *(row_of(c.arrays[15], array15, ids, r)));
                        const Range own = Range{0, n};
                        vf v28 = vf{};
                        vf v42 = vf{};
                        vf v52 = vf{};
                        vf v62 = vf{};
                        auto body = [&](auto tail, long j) __attribute__((always_inline)) {
                            constexpr bool TAIL = decltype(tail)::value;
                            const vf m0 = get<TAIL>(p0 + j, n - j);
                            const vf m1 = get<TAIL>(p1 + j, n - j);
                            const vf m2 = get<TAIL>(p2 + j, n - j);
                            const vf m3 = get<TAIL>(p3 + j, n - j);
                            const vf m4 = get<TAIL>(p4 + j, n - j);
                            const vf m5 = get<TAIL>(p5 + j, n - j);
                            const vf m6 = get<TAIL>(p6 + j, n - j);
                            const vf m7 = get<TAIL>(p7 + j, n - j);
                            const vf m8 = get<TAIL>(p8 + j, n - j);
                            const vf m9 = get<TAIL>(p9 + j, n - j);
                            const vf m10 = get<TAIL>(p10 + j, n - j);
                            const vf m11 = get<TAIL>(p11 + j, n - j);
                            const vf m12 = get<TAIL>(p12 + j, n - j);
                            const vf m16 = get<TAIL>(p16 + j, n - j);
                            const vf m17 = get<TAIL>(p17 + j, n - j);
                            const vf m18 = get<TAIL>(p18 + j, n - j);
                            const vf m19 = get<TAIL>(p19 + j, n - j);
                            const vf v0 = divided(m0, s0, s1);
                            const vf v1 = m1 * v0;
                            const vf v2 = m2 + v1;
                            const vf v3 = v_tanh(v2);
                            const vf v4 = divided(m3, s2, s3);
                            const vf v5 = m4 * v4;
                            const vf v6 = m5 + v5;
                            const vf v7 = v_sigmoid(v6);
                            const vf v8 = v3 * v7;
                            const vf v9 = splat(1.0f) - v7;
                            const vf v10 = v8 * v9;
                            const vf v11 = divided(m6, s4, s5);
                            const vf v12 = m7 * v11;
                            const vf v13 = m8 + v12;
                            const vf v14 = v_sigmoid(v13);
                            const vf v15 = v_tanh(m9);
                            const vf v16 = v15 * v15;
                            const vf v17 = splat(1.0f) - v16;
                            const vf v18 = v14 * v17;
                            const vf v19 = m10 + m11;
                            const vf v20 = v18 * v19;
                            const vf v21 = m12 + v20;
                            const vf v22 = v10 * v21;
                            put<TAIL>(p13 + j, v22, n - j);
                            const vf v23 = m4 * v22;
                            const vf v24 = divided(v23, s2, s3);
                            put<TAIL>(p14 + j, v24, n - j);
                            const vf v25 = v4 * v23;
                            const vf v26 = divided(v25, s2, s3);
                            const vf v27 = -v26;
                            v28 = v28 + kept<TAIL>(v27, n - j, vf{});
                            const vf v29 = divided(m16, s6, s7);
                            const vf v30 = m17 * v29;
                            const vf v31 = m18 + v30;
                            const vf v32 = v_sigmoid(v31);
                            const vf v33 = m19 * v32;
                            const vf v34 = splat(1.0f) - v32;
                            const vf v35 = v33 * v34;
                            const vf v36 = v35 * v21;
                            put<TAIL>(p20 + j, v36, n - j);
                            const vf v37 = m17 * v36;
                            const vf v38 = divided(v37, s6, s7);
                            put<TAIL>(p21 + j, v38, n - j);
                            const vf v39 = v29 * v37;
                            const vf v40 = divided(v39, s6, s7);
                            const vf v41 = -v40;
                            v42 = v42 + kept<TAIL>(v41, n - j, vf{});
                            const vf v43 = v15 * v14;
                            const vf v44 = splat(1.0f) - v14;
                            const vf v45 = v43 * v44;
                            const vf v46 = v45 * v19;
                            put<TAIL>(p23 + j, v46, n - j);
                            const vf v47 = m7 * v46;
                            const vf v48 = divided(v47, s4, s5);
                            put<TAIL>(p24 + j, v48, n - j);
                            const vf v49 = v11 * v47;
                            const vf v50 = divided(v49, s4, s5);
                            const vf v51 = -v50;
                            v52 = v52 + kept<TAIL>(v51, n - j, vf{});
                            const vf v53 = v3 * v3;
                            const vf v54 = splat(1.0f) - v53;
                            const vf v55 = v7 * v54;
                            const vf v56 = v55 * v21;
                            put<TAIL>(p26 + j, v56, n - j);
                            const vf v57 = m1 * v56;
                            const vf v58 = divided(v57, s0, s1);
                            put<TAIL>(p27 + j, v58, n - j);
                            const vf v59 = v0 * v57;
                            const vf v60 = divided(v59, s0, s1);
                            const vf v61 = -v60;
                            v62 = v62 + kept<TAIL>(v61, n - j, vf{});
                            const vf v63 = v32 * v21;
                            put<TAIL>(p29 + j, v63, n - j);
                            const vf v64 = v11 * v46;
                            put<TAIL>(p30 + j, v64, n - j);
                            const vf v65 = v29 * v36;
                            put<TAIL>(p31 + j, v65, n - j);
                            const vf v66 = v4 * v22;
                            put<TAIL>(p32 + j, v66, n - j);
                            const vf v67 = v0 * v56;
                            put<TAIL>(p33 + j, v67, n - j);
                        };
                        long j = own.first;
                        for (; j + VL <= own.last; j += VL) body(std::false_type{}, j);
                        if (j < own.last) body(std::true_type{}, j);
                        *p15 = lane_sum(v28);
                        *p22 = lane_sum(v42);
                        *p25 = lane_sum(v52);
                        *p28 = lane_sum(v62);
                    }
                    {
                        const long n = (1);
                        float *const p0 = scratch0 + rows.first * ld0;
                        float *const p1 = row_of(c.arrays[5], array5, ids, r);
                        float *const p2 = scratch8 + rows.first * ld8;
                        float *const p3 = scratch2 + rows.first * ld2;
                        float *const p4 = row_of(c.arrays[15], array15, ids, r);
                        float *const p5 = scratch12 + rows.first * ld12;
                        float *const p6 = scratch4 + rows.first * ld4;
                        float *const p7 = row_of(c.arrays[9], array9, ids, r);
                        float *const p8 = scratch16 + rows.first * ld16;
                        float *const p9 = scratch6 + rows.first * ld6;
                        float *const p10 = row_of(c.arrays[1], array1, ids, r);
                        float *const p11 = scratch20 + rows.first * ld20;
                        const Range own = Range{0, n};
                        auto body = [&](auto tail, long j) __attribute__((always_inline)) {
                            constexpr bool TAIL = decltype(tail)::value;
                            const vf m0 = get<TAIL>(p0 + j, n - j);
                            const vf m1 = get<TAIL>(p1 + j, n - j);
                            const vf m3 = get<TAIL>(p3 + j, n - j);
                            const vf m4 = get<TAIL>(p4 + j, n - j);
                            const vf m6 = get<TAIL>(p6 + j, n - j);
                            const vf m7 = get<TAIL>(p7 + j, n - j);
                            const vf m9 = get<TAIL>(p9 + j, n - j);
                            const vf m10 = get<TAIL>(p10 + j, n - j);
                            const vf v0 = splat(0.5f) * m0;
                            const vf v1 = v0 / m1;
                            const vf v2 = v1 / splat((float)((n_H)));
                            put<TAIL>(p2 + j, v2, n - j);
                            const vf v3 = splat(0.5f) * m3;
                            const vf v4 = v3 / m4;
                            const vf v5 = v4 / splat((float)((n_H)));
                            put<TAIL>(p5 + j, v5, n - j);
                            const vf v6 = splat(0.5f) * m6;
                            const vf v7 = v6 / m7;
                            const vf v8 = v7 / splat((float)((n_H)));
                            put<TAIL>(p8 + j, v8, n - j);
                            const vf v9 = splat(0.5f) * m9;
                            const vf v10 = v9 / m10;
                            const vf v11 = v10 / splat((float)((n_H)));
                            put<TAIL>(p11 + j, v11, n - j);
                        };
                        long j = own.first;
                        for (; j + VL <= own.last; j += VL) body(std::false_type{}, j);
                        if (j < own.last) body(std::true_type{}, j);
                    }
                    {
                        const long n = (n_H);
                        float *const p0 = row_of(c.arrays[4], array4, ids, r);
                        float *const p1 = scratch9 + rows.first * ld9;
                        float *const p2 = scratch11 + rows.first * ld11;
                        float *const p3 = scratch1 + rows.first * ld1;
                        float *const p4 = row_of(c.arrays[14], array14, ids, r);
                        float *const p5 = scratch13 + rows.first * ld13;
                        float *const p6 = scratch15 + rows.first * ld15;
                        float *const p7 = scratch3 + rows.first * ld3;
                        float *const p8 = row_of(c.arrays[8], array8, ids, r);
                        float *const p9 = scratch17 + rows.first * ld17;
                        float *const p10 = scratch19 + rows.first * ld19;
                        float *const p11 = scratch5 + rows.first * ld5;
                        float *const p12 = row_of(c.arrays[0], array0, ids, r);
                        float *const p13 = scratch21 + rows.first * ld21;
                        float *const p14 = scratch23 + rows.first * ld23;
                        float *const p15 = scratch7 + rows.first * ld7;
                        const vf s0 = splat(*(scratch8 + rows.first * ld8));
                        const vf s1 = splat(*(scratch12 + rows.first * ld12));
                        const vf s2 = splat(*(scratch16 + rows.first * ld16));
                        const vf s3 = splat(*(scratch20 + rows.first * ld20));
                        const Range own = Range{0, n};
                        vf v5 = vf{};
                        vf v11 = vf{};
                        vf v17 = vf{};
                        vf v23 = vf{};
                        auto body = [&](auto tail, long j) __attribute__((always_inline)) {
                            constexpr bool TAIL = decltype(tail)::value;
                            const vf m0 = get<TAIL>(p0 + j, n - j);
                            const vf m1 = get<TAIL>(p1 + j, n - j);
                            const vf m4 = get<TAIL>(p4 + j, n - j);
                            const vf m5 = get<TAIL>(p5 + j, n - j);
                            const vf m8 = get<TAIL>(p8 + j, n - j);
                            const vf m9 = get<TAIL>(p9 + j, n - j);
                            const vf m12 = get<TAIL>(p12 + j, n - j);
                            const vf m13 = get<TAIL>(p13 + j, n - j);
                            const vf v0 = m0 + m0;
                            const vf v1 = s0;
                            const vf v2 = v0 * v1;
                            const vf v3 = m1 + v2;
                            put<TAIL>(p2 + j, v3, n - j);
                            const vf v4 = -v3;
                            v5 = v5 + kept<TAIL>(v4, n - j, vf{});
                            const vf v6 = m4 + m4;
                            const vf v7 = s1;
                            const vf v8 = v6 * v7;
                            const vf v9 = m5 + v8;
                            put<TAIL>(p6 + j, v9, n - j);
                            const vf v10 = -v9;
                            v11 = v11 + kept<TAIL>(v10, n - j, vf{});
                            const vf v12 = m8 + m8;
                            const vf v13 = s2;
                            const vf v14 = v12 * v13;
                            const vf v15 = m9 + v14;
                            put<TAIL>(p10 + j, v15, n - j);
                            const vf v16 = -v15;
                            v17 = v17 + kept<TAIL>(v16, n - j, vf{});
                            const vf v18 = m12 + m12;
                            const vf v19 = s3;
                            const vf v20 = v18 * v19;
                            const vf v21 = m13 + v20;
                            put<TAIL>(p14 + j, v21, n - j);
                            const vf v22 = -v21;
                            v23 = v23 + kept<TAIL>(v22, n - j, vf{});
                        };
                        long j = own.first;
                        for (; j + VL <= own.last; j += VL) body(std::false_type{}, j);
                        if (j < own.last) body(std::true_type{}, j);
                        *p3 = lane_sum(v5);
                        *p7 = lane_sum(v11);
                        *p11 = lane_sum(v17);
                        *p15 = lane_sum(v23);
                    }
                    {
                        const long n = (1);
                        float *const p0 = scratch1 + rows.first * ld1;
                        float *const p1 = scratch10 + rows.first * ld10;
                        float *const p2 = scratch3 + rows.first * ld3;
                        float *const p3 = scratch14 + rows.first * ld14;
                        float *const p4 = scratch5 + rows.first * ld5;
                        float *const p5 = scratch18 + rows.first * ld18;
                        float *const p6 = scratch7 + rows.first * ld7;
                        float *const p7 = scratch22 + rows.first * ld22;
                        const Range own = Range{0, n};
                        auto body = [&](auto tail, long j) __attribute__((always_inline)) {
                            constexpr bool TAIL = decltype(tail)::value;
                            const vf m0 = get<TAIL>(p0 + j, n - j);
                            const vf m2 = get<TAIL>(p2 + j, n - j);
                            const vf m4 = get<TAIL>(p4 + j, n - j);
                            const vf m6 = get<TAIL>(p6 + j, n - j);
                            const vf v0 = m0 / splat((float)((n_H)));
                            put<TAIL>(p1 + j, v0, n - j);
                            const vf v1 = m2 / splat((float)((n_H)));
                            put<TAIL>(p3 + j, v1, n - j);
                            const vf v2 = m4 / splat((float)((n_H)));
                            put<TAIL>(p5 + j, v2, n - j);
                            const vf v3 = m6 / splat((float)((n_H)));
                            put<TAIL>(p7 + j, v3, n - j);
                        };
                        long j = own.first;
                        for (; j + VL <= own.last; j += VL) body(std::false_type{}, j);
                        if (j < own.last) body(std::true_type{}, j);
                    }
                    {
                        const long n = (n_H);
                        float *const p0 = scratch11 + rows.first * ld11;
                        float *const p1 = array21 + r * c.arrays[21].row;
                        float *const p2 = scratch15 + rows.first * ld15;
                        float *const p3 = array21 + (n_H) + r * c.arrays[21].row;
                        float *const p4 = scratch19 + rows.first * ld19;
                        float *const p5 = array21 + (2 * n_H) + r * c.arrays[21].row;
                        float *const p6 = scratch23 + rows.first * ld23;
                        float *const p7 = array21 + (3 * n_H) + r * c.arrays[21].row;
                        const vf s0 = splat(*(scratch10 + rows.first * ld10));
                        const vf s1 = splat(*(scratch14 + rows.first * ld14));
                        const vf s2 = splat(*(scratch18 + rows.first * ld18));
                        const vf s3 = splat(*(scratch22 + rows.first * ld22));
                        const Range own = Range{0, n};
                        auto body = [&](auto tail, long j) __attribute__((always_inline)) {
                            constexpr bool TAIL = decltype(tail)::value;
                            const vf m0 = get<TAIL>(p0 + j, n - j);
                            const vf m2 = get<TAIL>(p2 + j, n - j);
                            const vf m4 = get<TAIL>(p4 + j, n - j);
                            const vf m6 = get<TAIL>(p6 + j, n - j);
                            const vf v0 = s0;
                            const vf v1 = m0 + v0;
                            put<TAIL>(p1 + j, v1, n - j);
                            const vf v2 = s1;
                            const vf v3 = m2 + v2;
                            put<TAIL>(p3 + j, v3, n - j);
                            const vf v4 = s2;
                            const vf v5 = m4 + v4;
                            put<TAIL>(p5 + j, v5, n - j);
                            const vf v6 = s3;
                            const vf v7 = m6 + v6;
                            put<TAIL>(p7 + j, v7, n - j);
                        };
                        long j = own.first;
                        for (; j + VL <= own.last; j += VL) body(std::false_type{}, j);
                        if (j < own.last) body(std::true_type{}, j);
                    }
                }
                if (c.by_panel) meter.wait(barrier, threads);
                meter.in(PRODUCTS);
                // (n_H) x (4 * n_H)
                c.kernels->product(array21, c.arrays[21].row, c.matrices[1].packed, (4 * n_H), (n_H), all_or_own, share.columns((n_H)), descending, next0, (n_H), space);
                meter.in(ELEMENTWISE);
                if (c.by_panel) meter.wait(barrier, threads);
                const auto stay = [&](long r) {
                    std::memcpy(next0 + r * (n_H), previous0 + r * (n_H), (n_H) * sizeof(float));
                    std::memcpy(next1 + r * (n_H), previous1 + r * (n_H), (n_H) * sizeof(float));
                };
                const auto clear = [&]([[maybe_unused]] long r, [[maybe_unused]] bool summed) {
                    if (summed || !c.arrays[21].local) std::memset(array21 + r * c.arrays[21].row, 0, (4 * n_H) * sizeof(float));
                    if (summed || !c.arrays[22].local) std::memset(array22 + r * c.arrays[22].row, 0, (n_H) * sizeof(float));
                    if (summed || !c.arrays[23].local) std::memset(array23 + r * c.arrays[23].row, 0, (n_H) * sizeof(float));
                    if (summed || !c.arrays[24].local) std::memset(array24 + r * c.arrays[24].row, 0, (n_H) * sizeof(float));
                    if (summed || !c.arrays[25].local) std::memset(array25 + r * c.arrays[25].row, 0, (n_H) * sizeof(float));
                    if (summed || !c.arrays[26].local) std::memset(array26 + r * c.arrays[26].row, 0, (n_H) * sizeof(float));
                    if (summed || !c.arrays[27].local) std::memset(array27 + r * c.arrays[27].row, 0, (n_H) * sizeof(float));
                    if (summed || !c.arrays[28].local) std::memset(array28 + r * c.arrays[28].row, 0, (n_H) * sizeof(float));
                    if (summed || !c.arrays[29].local) std::memset(array29 + r * c.arrays[29].row, 0, (n_H) * sizeof(float));
                };
                if (c.lengths) {
                    for (long r = own_rows.first; r < own_rows.last; ++r) if (t >= c.lengths[r]) {
                        stay(r);
                        clear(r, true);
                    }
                    for (long r = live + ended.first; r < live + ended.last; ++r) {
                        stay(r);
                        clear(r, false);
                    }
                }
                if (c.lengths && c.by_panel) meter.wait(barrier, threads);
            }
            meter.in(AFTER);
            meter.wait(barrier, threads);
            c.kernels->bulk_product(chunk, c.arrays[21], (0), c.matrices[0], (n_I), (4 * n_H), nullptr, c.arrays[30], space);
            {
                const Sum sums[] = {
                    {&c.arrays[19], (0), (n_H), c.sums[0]},
                    {&c.arrays[20], (0), (n_I), c.sums[9]},
                };
                c.kernels->bulk_sums(chunk, c.arrays[21], (0), (4 * n_H), sums, 2, k0 > 0, space);
            }
            {
                const Sum sums[] = {
                    {nullptr, 0, 1, c.sums[1]},
                };
                c.kernels->bulk_sums(chunk, c.arrays[22], (0), (n_H), sums, 1, k0 > 0, space);
            }
            {
                const Sum sums[] = {
                    {nullptr, 0, 1, c.sums[2]},
                };
                c.kernels->bulk_sums(chunk, c.arrays[23], (0), (n_H), sums, 1, k0 > 0, space);
            }
            {
                const Sum sums[] = {
                    {nullptr, 0, 1, c.sums[3]},
                };
                c.kernels->bulk_sums(chunk, c.arrays[24], (0), (n_H), sums, 1, k0 > 0, space);
            }
            {
                const Sum sums[] = {
                    {nullptr, 0, 1, c.sums[4]},
                };
                c.kernels->bulk_sums(chunk, c.arrays[25], (0), (n_H), sums, 1, k0 > 0, space);
            }
            {
                const Sum sums[] = {
                    {nullptr, 0, 1, c.sums[5]},
                };
                c.kernels->bulk_sums(chunk, c.arrays[26], (0), (n_H), sums, 1, k0 > 0, space);
            }
            {
                const Sum sums[] = {
                    {nullptr, 0, 1, c.sums[6]},
                };
                c.kernels->bulk_sums(chunk, c.arrays[27], (0), (n_H), sums, 1, k0 > 0, space);
            }
            {
                const Sum sums[] = {
                    {nullptr, 0, 1, c.sums[7]},
                };
                c.kernels->bulk_sums(chunk, c.arrays[28], (0), (n_H), sums, 1, k0 > 0, space);
            }
            {
                const Sum sums[] = {
                    {nullptr, 0, 1, c.sums[8]},
                };
                c.kernels->bulk_sums(chunk, c.arrays[29], (0), (n_H), sums, 1, k0 > 0, space);
            }
            meter.wait(barrier, threads);
        }
    });
}
