// Sums over the steps of a chunk, of products of one kind, called Products: a library of its own,
// which takes as long to compile as the products, and which only loops that train have use for.

namespace {

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

static_assert(BLOCK_COLUMNS <= PANEL && Products::depth(1, LARGE_SUM + 1) <= MAX_DEPTH);

}  // namespace

extern "C" void give_sums(Kernels *kernels) { kernels->bulk_sums = bulk_sums; }
