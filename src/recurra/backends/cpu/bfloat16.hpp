// Products with operands rounded to bfloat16 and sums in float32.
//
// A matrix is packed in pairs of columns, [N / PW][K / 2][PW][2], K filled up with zeros to a
// multiple of 32: as AMX tiles (16 pairs by 16 rows of the matrix) and the dot products of AVX-512
// read it. The other operand is rounded into rows [R][K] first.
#include "float32.hpp"
#if defined(__AVX512F__)
#include <immintrin.h>
#endif
#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__linux__)
#define RECURRA_AMX 1
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

typedef uint16_t bf16;

INLINE constexpr long in_tiles(long K) { return (K + TILE - 1) / TILE * TILE; }
static_assert(in_tiles(1) == TILE);

// the upper 16 bits of each lane hold the nearest bfloat16, ties to even
INLINE vi rounded(vf a) {
    const vi bits = (vi)a;
    const vi up = bits + ((bits >> 16) & 1) + 0x7fff;
    return a != a ? (bits | splat_int(0x00400000)) : up;  // a NaN stays one
}
// pairs (low, high) in one lane each
INLINE vi paired(vf low, vf high) {
#if defined(__AVX512BF16__)
    const __m512i low16 = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)low));
    const __m512i high16 = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)high));
    return (vi)_mm512_or_si512(low16, _mm512_slli_epi32(high16, 16));
#else
    return ((rounded(low) >> 16) & 0xffff) | (rounded(high) & splat_int((int32_t)0xffff0000));
#endif
}
INLINE bf16 rounded(float a) {
    uint32_t bits;
    std::memcpy(&bits, &a, 4);
    if (a != a) return (bf16)((bits >> 16) | 0x40);
    return (bf16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// a square of VL by VL numbers, its rows as columns
INLINE void transpose(vi square[VL]) {
#if defined(__AVX512F__)
    __m512i twos[16], fours[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        twos[i] = _mm512_unpacklo_epi32((__m512i)square[i], (__m512i)square[i + 1]);
        twos[i + 1] = _mm512_unpackhi_epi32((__m512i)square[i], (__m512i)square[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4)
        for (int half = 0; half < 2; ++half) {
            fours[i + 2 * half] = _mm512_unpacklo_epi64(twos[i + half], twos[i + half + 2]);
            fours[i + 2 * half + 1] = _mm512_unpackhi_epi64(twos[i + half], twos[i + half + 2]);
        }
    // fours[4 g + c] has, of rows 4 g to 4 g + 3, the columns c, 4 + c, 8 + c and 12 + c
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
        const __m512i even0 = _mm512_shuffle_i32x4(fours[c], fours[4 + c], 0x88);
        const __m512i odd0 = _mm512_shuffle_i32x4(fours[c], fours[4 + c], 0xdd);
        const __m512i even1 = _mm512_shuffle_i32x4(fours[8 + c], fours[12 + c], 0x88);
        const __m512i odd1 = _mm512_shuffle_i32x4(fours[8 + c], fours[12 + c], 0xdd);
        square[c] = (vi)_mm512_shuffle_i32x4(even0, even1, 0x88);
        square[4 + c] = (vi)_mm512_shuffle_i32x4(odd0, odd1, 0x88);
        square[8 + c] = (vi)_mm512_shuffle_i32x4(even0, even1, 0xdd);
        square[12 + c] = (vi)_mm512_shuffle_i32x4(odd0, odd1, 0xdd);
    }
#else
    for (int i = 0; i < VL; ++i)
        for (int j = 0; j < i; ++j) {
            const int32_t other = square[i][j];
            square[i][j] = square[j][i];
            square[j][i] = other;
        }
#endif
}

// rows [R, K] of float32 as bfloat16 [R, in_tiles(K)]
static void round_rows(const float *from, long stride, long R, long K, bf16 *to) {
    const long width = in_tiles(K);
    for (long r = 0; r < R; ++r, from += stride, to += width) {
        long k = 0;
#if defined(__AVX512BF16__)
        for (; k + VL <= K; k += VL) {
            const auto half = _mm512_cvtneps_pbh((__m512)load(from + k));
            std::memcpy(to + k, &half, 2 * VL);
        }
#endif
        for (; k < K; ++k) to[k] = rounded(from[k]);
        for (; k < width; ++k) to[k] = 0;
    }
}

// c + a b over a pair of columns: a holds the same pair in every lane
INLINE vf dot_pair(vf c, vi a, vi b) {
#if defined(__AVX512BF16__)
    return (vf)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
#else
    c += (vf)(a << 16) * (vf)(b << 16);
    return c + (vf)(a & splat_int((int32_t)0xffff0000)) * (vf)(b & splat_int((int32_t)0xffff0000));
#endif
}

template <int R, int V>
static void tile16(const bf16 *a, long a_stride, const bf16 *w, long K, float *c, long c_stride,
                   long n, bool add, const float *bias) {
    constexpr int CHAINS = R * V < 8 ? 2 : 1;
    vf sum[CHAINS][R][V] = {};
    for (long k = 0; k < K / 2; k += CHAINS)  // K / 2 is even
#pragma GCC unroll 2
        for (int h = 0; h < CHAINS; ++h) {
            const bf16 *panel = w + (k + h) * 2 * PW;
            vi b[V];
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) b[v] = *(const vi *)(panel + v * 2 * VL);
#pragma GCC unroll 6
            for (int r = 0; r < R; ++r) {
                int32_t pair;
                std::memcpy(&pair, a + r * a_stride + 2 * (k + h), 4);
                const vi x = splat_int(pair);
#pragma GCC unroll 4
                for (int v = 0; v < V; ++v) sum[h][r][v] = dot_pair(sum[h][r][v], x, b[v]);
            }
        }
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) {
            vf total = sum[0][r][v];
            if constexpr (CHAINS == 2) total += sum[1][r][v];
            put_sum(c + r * c_stride + v * VL, total, n - v * VL, add, bias ? bias + v * VL : bias);
        }
}

template <int V>
static void tile16_rows(int rows, const bf16 *a, long a_stride, const bf16 *w, long K, float *c,
                        long c_stride, long n, bool add, const float *bias) {
    switch (rows) {
    case 1: return tile16<1, V>(a, a_stride, w, K, c, c_stride, n, add, bias);
    case 2: return tile16<2, V>(a, a_stride, w, K, c, c_stride, n, add, bias);
    case 3: return tile16<3, V>(a, a_stride, w, K, c, c_stride, n, add, bias);
    case 4: return tile16<4, V>(a, a_stride, w, K, c, c_stride, n, add, bias);
    case 5: return tile16<5, V>(a, a_stride, w, K, c, c_stride, n, add, bias);
    default: return tile16<6, V>(a, a_stride, w, K, c, c_stride, n, add, bias);
    }
}

#if defined(RECURRA_AMX)
constexpr int FEW_ROWS = 4;  // below, a tile of 16 rows is mostly empty

// Linux gives a process the tiles when it asks for them
static bool has_tiles() {
    static const bool granted = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
    return granted;
}

static thread_local int members_within = 0;

// all tiles of 16 rows of 64 bytes; constant, because GCC does not see that the instruction reads it
struct TileShapes {
    uint8_t palette = 1, start = 0, zeros[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
alignas(64) static constexpr TileShapes TILE_SHAPES;

// up to 32 rows by 32 columns
static void amx_block(const bf16 *a, long a_stride, const bf16 *w, long K, float *c, long c_stride,
                      int rows, long n, bool add, const float *bias) {
    const bool low = rows > 16, right = n > 16;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (long k = 0; k < K; k += 32) {
        const bf16 *b = w + k * PW;
        _tile_loadd(4, a + k, a_stride * 2);
        _tile_loadd(6, b, PW * 4);
        _tile_dpbf16ps(0, 4, 6);
        if (right) {
            _tile_loadd(7, b + 32, PW * 4);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (low) {
            _tile_loadd(5, a + 16 * a_stride + k, a_stride * 2);
            _tile_dpbf16ps(2, 5, 6);
            if (right) _tile_dpbf16ps(3, 5, 7);
        }
    }
    alignas(64) float sums[32 * 32];
    _tile_stored(0, sums, 128);
    _tile_stored(1, sums + 16, 128);
    _tile_stored(2, sums + 16 * 32, 128);
    _tile_stored(3, sums + 16 * 32 + 16, 128);
    for (int r = 0; r < rows; ++r) {
        put_sum(c + r * c_stride, load(sums + r * 32), n, add, bias);
        if (right)
            put_sum(c + r * c_stride + 16, load(sums + r * 32 + 16), n - 16, add,
                    bias ? bias + 16 : bias);
    }
}
#endif

// c[r, n] (+)= bias + sum over k of a[r, k] w[n, k]: rows of bfloat16 [rows, K], a panel of w
static void panel_product16(const bf16 *a, long rows, const bf16 *w, long K, float *c, long c_stride,
                            long n, bool add, const float *bias) {
#if defined(RECURRA_AMX)
    if (rows > FEW_ROWS && has_tiles()) {
        if (n > PW) n = PW;
        for (long j = 0; j < n; j += 32)
            for (long r = 0; r < rows; r += 32)
                amx_block(a + r * K, K, w + 2 * j, K, c + r * c_stride + j, c_stride,
                          (int)(rows - r < 32 ? rows - r : 32), n - j < 32 ? n - j : 32, add,
                          bias ? bias + j : bias);
        return;
    }
#endif
    const long tiles = (rows + MAX_ROWS - 1) / MAX_ROWS;
    for (long i = 0; i < tiles; ++i) {
        const long first = rows * i / tiles, height = rows * (i + 1) / tiles - first;
        const bf16 *from = a + first * K;
        float *to = c + first * c_stride;
        const long vectors = (n + VL - 1) / VL;
        if (vectors >= NV) tile16_rows<NV>((int)height, from, K, w, K, to, c_stride, n, add, bias);
        else if (vectors == 1) tile16_rows<1>((int)height, from, K, w, K, to, c_stride, n, add, bias);
        else if (vectors == 2) tile16_rows<2>((int)height, from, K, w, K, to, c_stride, n, add, bias);
        else tile16_rows<3>((int)height, from, K, w, K, to, c_stride, n, add, bias);
    }
}

// as Float32, with operands rounded to bfloat16
struct BFloat16 {
    static constexpr long depth(long, long) { return MAX_DEPTH; }  // so fast that memory is what they wait for

    // members of a team may take turns on one thread: the last one to leave releases its tiles
    static void enter() {
#if defined(RECURRA_AMX)
        if (has_tiles() && members_within++ == 0) _tile_loadconfig(&TILE_SHAPES);
#endif
    }
    static void leave() {
#if defined(RECURRA_AMX)
        if (has_tiles() && --members_within == 0) _tile_release();
#endif
    }

    static void pack(const Matrix &matrix, long N, long K, long panel0, long panel1) {
        if (!matrix.packed) return;  // nobody wants what is computed with it
        const long depth = in_tiles(K);
        for (long p = panel0; p < panel1; ++p) {
            bf16 *to = (bf16 *)matrix.packed + p * depth * PW;
            const long n = N - p * PW < PW ? N - p * PW : PW;
            const float *from = matrix.data + p * PW * matrix.row_stride;
            if (n < PW || K < depth) std::memset(to, 0, depth * PW * sizeof(bf16));
            if (matrix.row_stride == 1 && n == PW) {
                for (long k = 0; k < K; k += 2)
                    for (long i = 0; i < PW; i += VL) {
                        const float *at = from + k * matrix.column_stride + i;
                        const vf next = k + 1 < K ? load(at + matrix.column_stride) : vf{};
                        const vi pairs = paired(load(at), next);
                        std::memcpy(to + k * PW + 2 * i, &pairs, sizeof pairs);
                    }
                continue;
            }
            for (long i = 0; i < n; ++i, from += matrix.row_stride)
                for (long k = 0; k < K; k += 32) {
                    const long there = K - k < 32 ? K - k : 32;
                    bf16 row[32] = {};
                    if (matrix.column_stride == 1)
                        round_rows(from + k, 0, 1, there, row);
                    else
                        for (long j = 0; j < there; ++j)
                            row[j] = rounded(from[(k + j) * matrix.column_stride]);
                    for (long j = 0; j < 32; j += 2)
                        std::memcpy(to + (k + j) * PW + 2 * i, row + j, 4);
                }
        }
    }

    static void product(const float *a, long a_stride, const void *packed, long K, Range rows,
                        const Columns &columns, bool descending, float *c, long c_stride,
                        float *space, const float *bias) {
        if (rows.empty() || columns.each.empty()) return;
        const long depth = in_tiles(K);
        bf16 *const rounded_rows = (bf16 *)space;
        round_rows(a + rows.first * a_stride, a_stride, rows.size(), K, rounded_rows);
        for (long i = 0; i < columns.parts; ++i) {
            const Range own = columns.part(i, descending), own_panels = panels_of(own);
            for (long j = 0; j < own_panels.size(); ++j) {
                const long p = own_panels.at(j, descending);
                const Range there = own.within(p * PW, (p + 1) * PW);
                const bf16 *w = (const bf16 *)packed + p * depth * PW + 2 * (there.first - p * PW);
                panel_product16(rounded_rows, rows.size(), w, depth,
                                c + rows.first * c_stride + there.first, c_stride, there.size(), false,
                                bias ? bias + there.first : bias);
            }
        }
    }

    // some columns of left [rows, N] as rows of bfloat16 [n, depth]; gives where they end
    static float *pack_left(const Rows &left, const Columns &own, long rows, float *space) {
        const long depth = in_tiles(rows);
        bf16 *to = (bf16 *)space;
        for (long i = 0; i < own.parts; ++i) {
            const Range part = own.part(i, false);
            pack_left(left, part.first, rows, part.size(), depth, to);
            to += part.size() * depth;
        }
        return (float *)(to + 32 * depth);  // a tile reads as many rows, whether there or not
    }

    static void pack_left(const Rows &from, long first, long rows, long n, long depth, bf16 *to) {
        for (long r = 0; r < depth; r += 2 * VL)
            for (long j = 0; j < n; j += VL) {
                vi pairs[VL];  // of rows, which become pairs of columns
                for (long i = 0; i < VL; ++i) {
                    const long low = r + 2 * i, there = n - j;
                    pairs[i] = paired(row_or_zeros(from, low, rows, first + j, there),
                                      row_or_zeros(from, low + 1, rows, first + j, there));
                }
                transpose(pairs);
                for (long i = 0; i < VL && j + i < n; ++i)
                    std::memcpy(to + (j + i) * depth + r, &pairs[i], sizeof pairs[i]);
            }
    }
    static vf row_or_zeros(const Rows &from, long r, long rows, long j, long there) {
        if (r >= rows) return vf{};
        const float *at = from.at(r) + j;
        return there >= VL ? load(at) : load_first(at, there);
    }

    // the first n columns of right in pairs of rows [depth / 2][PW][2]
    static void pack_right(const Rows &from, long first, long rows, long n, bf16 *to) {
        const long depth = in_tiles(rows);
        std::memset(to + (rows & ~1L) * PW, 0, (depth - (rows & ~1L)) * PW * sizeof(bf16));
        for (long r = 0; r < rows; r += 2) {
            const bool two = r + 1 < rows;
            const float *low = from.at(r) + first, *high = two ? from.at(r + 1) + first : low;
            for (long j = 0; j < PW; j += VL) {
                const long there = n - j;
                vf a = {}, b = {};
                if (there >= VL) a = load(low + j);
                else if (there > 0) a = load_first(low + j, there);
                if (two && there >= VL) b = load(high + j);
                else if (two && there > 0) b = load_first(high + j, there);
                const vi pairs = paired(a, b);
                std::memcpy(to + r * PW + 2 * j, &pairs, sizeof pairs);
            }
        }
    }

    // as Float32::outer
    static void outer(const float *packed, const Columns &own, const Rows &right, long rows, long K,
                      float *out, bool add, float *space) {
        const long depth = in_tiles(rows);
        bf16 *const panel = (bf16 *)space;
        for (long k = 0; k < K; k += PW) {
            pack_right(right, k, rows, K - k < PW ? K - k : PW, panel);
            const bf16 *columns = (const bf16 *)packed;
            for (long i = 0; i < own.parts; ++i) {
                const Range part = own.part(i, false);
                panel_product16(columns, part.size(), panel, depth, out + part.first * K + k, K, K - k,
                                add, nullptr);
                columns += part.size() * depth;
            }
        }
    }
};

}  // namespace
