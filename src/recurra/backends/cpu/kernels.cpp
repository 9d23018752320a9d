// Products for all generated loops, compiled once: of each kind a table of functions.
#include "runtime.hpp"
#include "float32.hpp"
#include "bfloat16.hpp"

namespace {


// to[t, b] = matrix from[t, b] + bias
template <typename Products>
static void bulk_product(const Chunk &chunk, const Array &from, long shift, const Matrix &matrix,
                         long N, long K, const float *bias, const Array &to, float *space) {
    if (!to.data) return;
    const Share &share = chunk.share;
    if (chunk.live < chunk.B && !to.local)  // what is handed out is whole
        for (long t = chunk.t0 + share.me; t < chunk.t1; t += share.threads)
            std::memset(at(to, t, chunk.t0) + chunk.live * to.row, 0,
                        (chunk.B - chunk.live) * to.row * sizeof(float));
    const float *a = at(from, chunk.t0, chunk.t0) + shift;
    float *c = at(to, chunk.t0, chunk.t0);
    const long rows = chunk.rows();
    const bool in_parts = share.unit && N % share.unit == 0;
    const bool by_column = in_parts || rows < 2 * MAX_ROWS * share.threads;
    const Share how = {share.me, share.threads, by_column, in_parts ? share.unit : 0};
    const Columns columns = how.columns(N);
    const Range own = by_column ? Range{0, rows} : share.rows(rows);
    bool descending = false;
    if (chunk.live < chunk.B) {
        for (long i = own.first, next; i < own.last; i = next, descending = !descending) {
            const long step = i / chunk.live, shift_of_step = step * (chunk.B - chunk.live);
            next = (step + 1) * chunk.live;
            const Range there = Range{i, i + BLOCK_ROWS}.within(0, next < own.last ? next : own.last);
            next = there.last;
            Products::product(a, from.row, matrix.packed, K,
                              {there.first + shift_of_step, there.last + shift_of_step}, columns,
                              descending, c, to.row, space, bias);
        }
        return;
    }
    for (long i = own.first; i < own.last; i += BLOCK_ROWS, descending = !descending)
        Products::product(a, from.row, matrix.packed, K, Range{i, i + BLOCK_ROWS}.within(0, own.last),
                          columns, descending, c, to.row, space, bias);
}

// as Products::outer, of left itself, for few columns of right; without right for the sum of left
static void narrow_sum(const Rows &left, Range columns, const Rows *right, long rows, long K,
                       float *out, bool add) {
    for (long k = 0; k < K; ++k)
        for (long n = columns.first; n < columns.last; n += NV * VL) {
            vf sum[NV] = {};
            const long there = columns.last - n < NV * VL ? columns.last - n : NV * VL;
            for (long r = 0; r < rows; ++r) {
                const vf x = splat(right ? right->at(r)[k] : 1.0f);
                const float *from = left.at(r) + n;
                for (int v = 0; v < NV; ++v) {
                    if ((v + 1) * VL <= there) sum[v] += x * load(from + v * VL);
                    else if (v * VL < there) sum[v] += x * load_first(from + v * VL, there - v * VL);
                }
            }
            float totals[NV * VL];
            for (int v = 0; v < NV; ++v) store(totals + v * VL, sum[v]);
            for (long j = 0; j < there; ++j) {
                float *const to = out + (n + j) * K + k;
                *to = (add ? *to : 0.0f) + totals[j];
            }
        }
}

constexpr long NARROW = 4;  // columns of right for which packing does not pay

// Each thread has columns of left of its own, which are packed once for all sums.
template <typename Products>
static void bulk_sums(const Chunk &chunk, const Array &left, long shift, long N, const Sum *sums,
                      long num_sums, bool add, float *space) {
    const Share &share = chunk.share;
    Columns own = share.columns(N);
    if (own.parts == 1) {
        const Range tiles = Range{0, (N + MAX_ROWS - 1) / MAX_ROWS}.part(share.me, share.threads);
        own.each = Range{tiles.first * MAX_ROWS, tiles.last * MAX_ROWS}.within(0, N);
    }
    if (own.each.empty()) return;
    long widest = 0;
    for (const Sum *sum = sums; sum < sums + num_sums; ++sum)
        if (sum->out && sum->K > widest) widest = sum->K;
    if (!widest) return;
    const long rows = chunk.rows(), depth = Products::depth(N, widest);
    if (!rows && !add)
        for (const Sum *sum = sums; sum < sums + num_sums; ++sum)
            for (long i = 0; sum->out && i < own.parts; ++i) {
                const Range part = own.part(i, false);
                std::memset(sum->out + part.first * sum->K, 0, part.size() * sum->K * sizeof(float));
            }
    for (long r0 = 0; r0 < rows; r0 += depth) {
        const Rows a = chunk.rows_of(left, shift).after(r0);
        const long there = rows - r0 < depth ? rows - r0 : depth;
        float *const panel = widest > NARROW ? Products::pack_left(a, own, there, space) : nullptr;
        for (const Sum *sum = sums; sum < sums + num_sums; ++sum) {
            if (!sum->out) continue;
            const bool more = add || r0 > 0;
            Rows right = {};
            if (sum->right) right = chunk.rows_of(*sum->right, sum->shift).after(r0);
            if (sum->K > NARROW) {
                Products::outer(space, own, right, there, sum->K, sum->out, more, panel);
                continue;
            }
            for (long i = 0; i < own.parts; ++i)
                narrow_sum(a, own.part(i, false), sum->right ? &right : nullptr, there, sum->K,
                           sum->out, more);
        }
    }
}

template <typename Products>
static void one_product(const float *a, long a_stride, const void *packed, long K, long N, Range rows,
                        const Columns &columns, bool descending, float *c, long c_stride,
                        float *space) {
    Products::product(a, a_stride, packed, K, rows, columns, descending, c, c_stride, space, nullptr);
}

Crowding crowding;  // one for all loops of the process

template <typename Products>
constexpr Kernels table = {Products::enter,        Products::leave,
                           Products::pack,         one_product<Products>,
                           bulk_product<Products>, bulk_sums<Products>,
                           &crowding};

static_assert(PANEL % PW == 0 && BLOCK_COLUMNS <= PANEL);
static_assert(Float32::depth(1, LARGE_SUM + 1) <= MAX_DEPTH && BFloat16::depth(1, 1) == MAX_DEPTH);
static_assert(in_tiles(1) == TILE);

}  // namespace

extern "C" {
extern const Kernels float32, bfloat16;
const Kernels float32 = table<Float32>, bfloat16 = table<BFloat16>;

extern const Fact facts[];
const Fact facts[] = {FACT(sizeof(Array)), FACT(sizeof(Matrix)), FACT(sizeof(Carried)),
                      FACT(sizeof(Call)), FACT(offsetof(Call, kernels)), FACT(NUM_PARTS),
                      {nullptr, 0}};

// the position of the first of `count` ids that is no row of a table of `rows`; -1 if all are
long first_outside(const int64_t *ids, long count, long rows) {
    uint64_t outside = 0;
    for (long i = 0; i < count; ++i) outside |= (uint64_t)ids[i] >= (uint64_t)rows;
    for (long i = 0; outside && i < count; ++i)
        if ((uint64_t)ids[i] >= (uint64_t)rows) return i;
    return -1;
}
}
