// Products for all generated loops, compiled once: of each kind a table of functions.
#include "runtime.hpp"
#include "float32.hpp"
#include "bfloat16.hpp"

namespace {

constexpr long BLOCK_ROWS = 192;  // operands of a block stay in L2 while all panels pass
constexpr long MAX_DEPTH = 1024;  // rows summed before the sum goes to memory

// to[t, b] = matrix from[t, b] + bias
template <typename Products>
static void bulk_product(const Chunk &chunk, const Array &from, long shift, const Matrix &matrix,
                         long N, long K, const float *bias, const Array &to, float *space) {
    if (!to.data) return;
    const float *a = at(from, chunk.t0, chunk.t0) + shift;
    float *c = at(to, chunk.t0, chunk.t0);
    const long rows = chunk.rows(), count = panels(N);
    if (rows < 2 * MAX_ROWS * chunk.threads)
        return Products::product(a, from.row, matrix.packed, K, N, 0, rows, count * chunk.me / chunk.threads,
                       count * (chunk.me + 1) / chunk.threads, c, to.row, space, false, bias);
    const long last = rows * (chunk.me + 1) / chunk.threads;
    for (long i = rows * chunk.me / chunk.threads; i < last; i += BLOCK_ROWS)
        Products::product(a, from.row, matrix.packed, K, N, i, i + BLOCK_ROWS < last ? i + BLOCK_ROWS : last, 0,
                count, c, to.row, space, false, bias);
}

// out[n, k] += sum over t, b of left[t, b, n] right[t, b, k], for columns [first, last) of left;
// right is null for a sum of left alone
static void narrow_sum(const Chunk &chunk, const float *left, long left_row, long first, long last,
                       const float *right, long right_row, long K, float *out) {
    const long rows = chunk.rows();
    for (long k = 0; k < K; ++k)
        for (long n = first; n < last; n += NV * VL) {
            vf sum[NV] = {};
            const long there = last - n < NV * VL ? last - n : NV * VL;
            for (long r = 0; r < rows; ++r) {
                const vf x = splat(right ? right[r * right_row + k] : 1.0f);
                const float *from = left + r * left_row + n;
                for (int v = 0; v < NV; ++v) {
                    if ((v + 1) * VL <= there) sum[v] += x * load(from + v * VL);
                    else if (v * VL < there) sum[v] += x * load_first(from + v * VL, there - v * VL);
                }
            }
            for (long j = 0; j < there; ++j) out[(n + j) * K + k] += sum[j / VL][j % VL];
        }
}

// out += the sum over a chunk of outer products left right^T [N, K], or of left [N] without right.
// Each thread has columns of left of its own.
template <typename Products>
static void bulk_sum(const Chunk &chunk, const Array &left, long left_shift, long N,
                     const Array *right, long right_shift, long K, float *out, float *space) {
    if (!out) return;
    const long tiles = (N + MAX_ROWS - 1) / MAX_ROWS, rows = chunk.rows();
    const long first = tiles * chunk.me / chunk.threads * MAX_ROWS;
    const long end = tiles * (chunk.me + 1) / chunk.threads * MAX_ROWS, last = end < N ? end : N;
    const float *a = at(left, chunk.t0, chunk.t0) + left_shift;
    const float *b = right ? at(*right, chunk.t0, chunk.t0) + right_shift : nullptr;
    if (K <= 4)
        return narrow_sum(chunk, a, left.row, first, last, b, right ? right->row : 0, K, out);
    for (long r0 = 0; r0 < rows; r0 += MAX_DEPTH) {
        const long depth = rows - r0 < MAX_DEPTH ? rows - r0 : MAX_DEPTH;
        Products::outer(a + r0 * left.row, left.row, first, last, b + r0 * right->row, right->row, depth,
                        K, out, space);
    }
}

template <typename Products>
static void one_product(const float *a, long a_stride, const void *packed, long K, long N, long row0,
                        long row1, long panel0, long panel1, float *c, long c_stride, float *space) {
    Products::product(a, a_stride, packed, K, N, row0, row1, panel0, panel1, c, c_stride, space);
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
