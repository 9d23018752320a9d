// Products of float32.
//
// A packed matrix is [N / PW][K][PW]. A tile of up to 6 rows of the other operand by one panel stays
// in registers over the whole of K.

namespace {

constexpr int MAX_ROWS = 6;
constexpr int AHEAD = 8;  // lines of a panel fetched before they are needed

// to[:n] = (to[:n] if add) + bias + total, for at most a vector
INLINE void put_sum(float *to, vf total, long n, bool add, const float *bias) {
    if (n >= VL) {
        if (bias) total += load(bias);
        store(to, add ? load(to) + total : total);
    } else {
        if (bias) total += load_first(bias, n);
        store_first(to, add ? load_first(to, n) + total : total, n);
    }
}

// c[r, :] = (c[r, :] if add) + bias + total[r], of which only the last vector may be there in part.
// What is known of add and bias where this is compiled halves it, as often as it is compiled.
template <bool ROWS, int R, int V>
INLINE void put_sums(vf (&total)[R][V], float *c, long c_stride, long n, bool add,
                     const float *bias) {
    constexpr int LAST = (V - 1) * VL;
    const bool whole = n >= V * VL;
    if constexpr (ROWS) {
        if (bias) {
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) {
                const float *from = bias + v * VL;
                const vf b = v < V - 1 || whole ? load(from) : load_first(from, n - LAST);
#pragma GCC unroll 6
                for (int r = 0; r < R; ++r) total[r][v] += b;
            }
        }
    } else if (add) {
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) {
                const float *from = c + r * c_stride + v * VL;
                total[r][v] += v < V - 1 || whole ? load(from) : load_first(from, n - LAST);
            }
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
        float *const to = c + r * c_stride;
#pragma GCC unroll 8
        for (int v = 0; v < V - 1; ++v) store(to + v * VL, total[r][v]);
        if (whole) store(to + LAST, total[r][V - 1]);
        else store_first(to + LAST, total[r][V - 1], n - LAST);
    }
}

// Multipliers that work side by side, times the steps that each of them takes.
constexpr int IN_FLIGHT = 8;

// Panels of a tile of R rows: few rows by one panel would leave the multipliers waiting.
template <int R> constexpr int SIDE = R * NV * 2 > IN_FLIGHT ? 1 : IN_FLIGHT / (R * NV);

// c[r, :] = (c[r, :] if add) + bias + sum over k of a[r, k] w[k, :], for R rows and V vectors of
// columns, of one panel or of several from their first column on, of which the first n are there.
// a[r, k] is at a[r * a_stride + k] or, for operands that are packed by columns (KS > 1), at
// a[r + k * KS]. Of rows (KS = 1) the order of a sum does not depend on how many there are, so that
// a sequence by itself, one step at a time, gives what it gives among others.
template <int R, int V, int KS>
static void tile(const float *a, long a_stride, const float *w, long K, float *c, long c_stride,
                 long n, bool add, const float *bias) {
    constexpr int CHAINS = KS > 1 && R * V < IN_FLIGHT ? 2 : 1;  // even and odd k side by side
    const auto element = [&](int r, long k) { return KS == 1 ? a[r * a_stride + k] : a[r + k * KS]; };
    const auto vector = [&](int v, long k) { return w + v / NV * K * PW + k * PW + v % NV * VL; };
    vf sum[CHAINS][R][V] = {};
    long k = 0;
    for (; k + CHAINS <= K; k += CHAINS)
#pragma GCC unroll 2
        for (int h = 0; h < CHAINS; ++h) {
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) __builtin_prefetch(vector(v, k + h + AHEAD));
            vf b[V];
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) b[v] = *(const vf *)vector(v, k + h);
#pragma GCC unroll 6
            for (int r = 0; r < R; ++r) {
                vf x = splat(element(r, k + h));
#pragma GCC unroll 8
                for (int v = 0; v < V; ++v) sum[h][r][v] += x * b[v];
            }
        }
    if constexpr (CHAINS > 1) {
        for (; k < K; ++k)
#pragma GCC unroll 6
            for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < V; ++v)
                    sum[0][r][v] += splat(element(r, k)) * *(const vf *)vector(v, k);
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) sum[0][r][v] += sum[1][r][v];
    }
    put_sums<KS == 1>(sum[0], c, c_stride, n, add, bias);
}

// a tile of as many vectors as there are columns left, V at most
template <int R, int V, int KS>
static void tile_columns(const float *a, long a_stride, const float *w, long K, float *c,
                         long c_stride, long n, bool add, const float *bias) {
    if constexpr (V > 1)
        if (n <= (V - 1) * VL)
            return tile_columns<R, V - 1, KS>(a, a_stride, w, K, c, c_stride, n, add, bias);
    tile<R, V, KS>(a, a_stride, w, K, c, c_stride, n, add, bias);
}

template <int R, int KS>
static void tile_rows(int rows, const float *a, long a_stride, const float *w, long K, float *c,
                      long c_stride, long n, bool add, const float *bias) {
    if constexpr (R > 1)
        if (rows < R) return tile_rows<R - 1, KS>(rows, a, a_stride, w, K, c, c_stride, n, add, bias);
    constexpr int V = KS == 1 ? SIDE<R> * NV : NV;
    tile_columns<R, V, KS>(a, a_stride, w, K, c, c_stride, n, add, bias);
}

// n numbers into `width` of them, those that are not there as zeros
INLINE void pack_row(const float *from, long n, long width, float *to) {
    long j = 0;
    for (; j + VL <= n; j += VL) store(to + j, load(from + j));
    if (j < n) store(to + j, load_first(from + j, n - j)), j += VL;
    for (; j < width; j += VL) store(to + j, vf{});
}

#if defined(__AVX512F__)
// Rows as columns: each round takes the rows i and i + VL / 2 number by number in turn, which turns
// the bits of row and column by one.
INLINE void transpose(vf (&rows)[VL]) {
    const vi low = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23}, high = low + VL / 2;
#pragma GCC unroll 4
    for (int round = 0; round < 4; ++round) {
        vf next[VL];
#pragma GCC unroll 8
        for (int i = 0; i < VL / 2; ++i) {
            next[2 * i] = chosen(rows[i], low, rows[i + VL / 2]);
            next[2 * i + 1] = chosen(rows[i], high, rows[i + VL / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < VL; ++i) rows[i] = next[i];
    }
}

// VL numbers of each of n rows, those that are not there as zeros, as VL rows of a panel
static void pack_block(const float *from, long row_stride, long n, float *to) {
    vf block[VL];
#pragma GCC unroll 16
    for (int i = 0; i < VL; ++i) block[i] = i < n ? load(from + i * row_stride) : vf{};
    transpose(block);
#pragma GCC unroll 16
    for (int k = 0; k < VL; ++k) store(to + k * PW, block[k]);
}
#endif

constexpr long BLOCK_COLUMNS = 48;

// Products of float32. `space` is a thread's own, for what it packs.
struct Float32 {
    // rows that are summed before the sum goes to memory: what they take should stay in the L2, but
    // the larger the sum, the more is its own way to memory
    static constexpr long depth(long N, long K) { return N * K <= LARGE_SUM ? 128 : 512; }

    static void enter() {}
    static void leave() {}

    // pack panels [panel0, panel1) of a matrix [N, K]
    static void pack(const Matrix &matrix, long N, long K, long panel0, long panel1) {
        const long row_stride = matrix.row_stride, column_stride = matrix.column_stride;
        const float *const w = matrix.data;
        float *const packed = (float *)matrix.packed;
        if (!packed) return;  // nobody wants what is computed with it
        for (long p = panel0; p < panel1; ++p) {
            const long n = N - p * PW < PW ? N - p * PW : PW;
            float *to = packed + p * K * PW;
            const float *from = w + p * PW * row_stride;
            if (row_stride == 1) {
                for (long k = 0; k < K; ++k) {
                    std::memcpy(to + k * PW, from + k * column_stride, n * sizeof(float));
                    for (long i = n; i < PW; ++i) to[k * PW + i] = 0;
                }
            } else {
                long whole = 0;
#if defined(__AVX512F__)
                if (column_stride == 1)
                    for (; whole + VL <= K; whole += VL)
                        for (long i = 0; i < PW; i += VL)
                            pack_block(from + i * row_stride + whole, row_stride, n - i,
                                       to + whole * PW + i);
#endif
                for (long k0 = whole; k0 < K; k0 += 16) {
                    const long k1 = k0 + 16 < K ? k0 + 16 : K;
                    for (long i = 0; i < n; ++i)
                        for (long k = k0; k < k1; ++k)
                            to[k * PW + i] = from[i * row_stride + k * column_stride];
                    for (long i = n; i < PW; ++i)
                        for (long k = k0; k < k1; ++k) to[k * PW + i] = 0;
                }
            }
        }
    }

    // c[r, n] = bias + sum over k of a[r, k] w[n, k]; columns begin at a multiple of VL
    static void product(const float *a, long a_stride, const void *packed, long K, Range rows,
                        const Columns &columns, bool descending, float *c, long c_stride, float *,
                        const float *bias) {
        if (rows.empty()) return;
        for (long i = 0; i < columns.parts; ++i)
            product(a, a_stride, packed, K, rows, columns.part(i, descending), descending, c,
                    c_stride, bias);
    }

    static void product(const float *a, long a_stride, const void *packed, long K, Range rows,
                        Range columns, bool descending, float *c, long c_stride, const float *bias) {
        const long tiles = (rows.size() + MAX_ROWS - 1) / MAX_ROWS;
        const long side = rows.size() == 1 ? SIDE<1> : rows.size() == 2 ? SIDE<2> : 1;
        const Range own = panels_of(columns);
        const long apart = columns.first % PW != 0;  // a first panel that is not there as a whole
        const long groups = apart + (own.size() - apart + side - 1) / side;
        for (long j = 0; j < groups; ++j) {
            const long first = own.first + apart + (Range{0, groups}.at(j, descending) - apart) * side;
            const Range taken = Range{first, first + side}.within(own.first, own.last);
            const Range there = columns.within(taken.first * PW, taken.last * PW);
            const long offset = there.first - taken.first * PW;
            const float *w = (const float *)packed + taken.first * K * PW + offset;
            for (long i = 0; i < tiles; ++i) {
                // tiles of nearly equal height, so that none is left with a single row
                const Range height = rows.part(i, tiles);
                tile_rows<MAX_ROWS, 1>((int)height.size(), a + height.first * a_stride, a_stride, w, K,
                                       c + height.first * c_stride + there.first, c_stride,
                                       there.size(), false, bias ? bias + there.first : bias);
            }
        }
    }

    // some columns of left [rows, N] in blocks [rows, BLOCK_COLUMNS]; gives where they end
    static float *pack_left(const Rows &from, const Columns &own, long rows, float *to) {
        float *end = to;
        for (long r = 0; r < rows; ++r) {
            const float *left = from.at(r);
            float *block = to + r * BLOCK_COLUMNS;
            for (long i = 0; i < own.parts; ++i) {
                const Range part = own.part(i, false);
                for (long n = part.first; n < part.last; n += BLOCK_COLUMNS) {
                    const long there = Range{n, n + BLOCK_COLUMNS}.within(0, part.last).size();
                    pack_row(left + n, there, BLOCK_COLUMNS, block);
                    block += rows * BLOCK_COLUMNS;
                }
            }
            end = block - r * BLOCK_COLUMNS;
        }
        return end;
    }

    // out[n, k] = (out[n, k] if add) + sum over rows of left[r, n] right[r, k], for the columns of
    // left that `packed` has
    static void outer(const float *packed, const Columns &own, const Rows &right, long rows, long K,
                      float *out, bool add, float *panel) {
        for (long k = 0; k < K; k += PW) {
            const long there = K - k < PW ? K - k : PW;
            for (long r = 0; r < rows; ++r)
                pack_row(right.at(r) + k, there, PW, panel + r * PW);
            const float *block = packed;
            for (long i = 0; i < own.parts; ++i) {
                const Range part = own.part(i, false);
                for (long n = part.first; n < part.last; n += BLOCK_COLUMNS) {
                    const Range columns = Range{n, n + BLOCK_COLUMNS}.within(0, part.last);
                    for (long c = n; c < columns.last; c += MAX_ROWS) {
                        const int height = (int)Range{c, c + MAX_ROWS}.within(0, columns.last).size();
                        tile_rows<MAX_ROWS, BLOCK_COLUMNS>(height, block + c - n, 0, panel, rows,
                                                           out + c * K + k, K, there, add, nullptr);
                    }
                    block += rows * BLOCK_COLUMNS;
                }
            }
        }
    }
};

}  // namespace
