// Products for all generated loops, compiled once: of each kind a table of functions.
#include "runtime.hpp"
#include "float32.hpp"
#include "bfloat16.hpp"

namespace {

constexpr long BLOCK_ROWS = 192;  // operands of a block stay in L2 while all panels pass

// to[t, b] = matrix from[t, b] + bias
template <typename Products>
static void bulk_product(const Chunk &chunk, const Array &from, long shift, const Matrix &matrix,
                         long N, long K, const float *bias, const Array &to, float *space) {
    if (!to.data) return;
    const float *a = at(from, chunk.t0, chunk.t0) + shift;
    float *c = at(to, chunk.t0, chunk.t0);
    const long rows = chunk.rows();
    const Share &share = chunk.share;
    const bool in_parts = share.unit && N % share.unit == 0;
    const bool by_column = in_parts || rows < 2 * MAX_ROWS * share.threads;
    const Share how = {share.me, share.threads, by_column, in_parts ? share.unit : 0};
    const Columns columns = how.columns(N);
    const Range own = by_column ? Range{0, rows} : share.rows(rows);
    bool descending = false;
    for (long i = own.first; i < own.last; i += BLOCK_ROWS, descending = !descending)
        Products::product(a, from.row, matrix.packed, K, Range{i, i + BLOCK_ROWS}.within(0, own.last),
                          columns, descending, c, to.row, space, bias);
}

// out[n, k] = (out[n, k] if add) + sum over t, b of left[t, b, n] right[t, b, k], for some columns of left; right
// is null for a sum of left alone
static void narrow_sum(const Chunk &chunk, const float *left, long left_row, Range columns,
                       const float *right, long right_row, long K, float *out,
                       bool add) {
    const long rows = chunk.rows();
    for (long k = 0; k < K; ++k)
        for (long n = columns.first; n < columns.last; n += NV * VL) {
            vf sum[NV] = {};
            const long there = columns.last - n < NV * VL ? columns.last - n : NV * VL;
            for (long r = 0; r < rows; ++r) {
                const vf x = splat(right ? right[r * right_row + k] : 1.0f);
                const float *from = left + r * left_row + n;
                for (int v = 0; v < NV; ++v) {
                    if ((v + 1) * VL <= there) sum[v] += x * load(from + v * VL);
                    else if (v * VL < there) sum[v] += x * load_first(from + v * VL, there - v * VL);
                }
            }
            for (long j = 0; j < there; ++j) {
                float *const to = out + (n + j) * K + k;
                *to = (add ? *to : 0.0f) + sum[j / VL][j % VL];
            }
        }
}

// out = (out if add) + the sum over a chunk of outer products left right^T [N, K], or of left [N].
// Each thread has columns of left of its own.
template <typename Products>
static void bulk_sum(const Chunk &chunk, const Array &left, long left_shift, long N,
                     const Array *right, long right_shift, long K, float *out, bool add,
                     float *space) {
    if (!out) return;
    const Share &share = chunk.share;
    Columns own = share.columns(N);
    if (own.parts == 1) {
        const Range tiles = Range{0, (N + MAX_ROWS - 1) / MAX_ROWS}.part(share.me, share.threads);
        own.each = Range{tiles.first * MAX_ROWS, tiles.last * MAX_ROWS}.within(0, N);
    }
    const float *a = at(left, chunk.t0, chunk.t0) + left_shift;
    const float *b = right ? at(*right, chunk.t0, chunk.t0) + right_shift : nullptr;
    const long rows = chunk.rows(), most = Products::depth(N, K);
    for (long i = 0; i < own.parts; ++i) {
        const Range columns = own.part(i, false);
        if (K <= 4) {
            narrow_sum(chunk, a, left.row, columns, b, right ? right->row : 0, K, out,
                       add);
            continue;
        }
        for (long r0 = 0; r0 < rows; r0 += most)
            Products::outer(a + r0 * left.row, left.row, columns, b + r0 * right->row, right->row,
                            rows - r0 < most ? rows - r0 : most, K, out, add || r0 > 0, space);
    }
}

template <typename Products>
static void one_product(const float *a, long a_stride, const void *packed, long K, long N, Range rows,
                        const Columns &columns, bool descending, float *c, long c_stride,
                        float *space) {
    Products::product(a, a_stride, packed, K, rows, columns, descending, c, c_stride, space, nullptr);
}

template <typename Products>
constexpr Kernels table = {Products::enter,         Products::leave,
                           Products::pack,          one_product<Products>,
                           bulk_product<Products>,  bulk_sum<Products>};

}  // namespace

extern "C" {
extern const Kernels float32, bfloat16;
const Kernels float32 = table<Float32>, bfloat16 = table<BFloat16>;
}
