// Products of one kind, called Products, for all generated loops: those of a step and those of many
// steps, packing, and the table of functions that loops are given.

namespace {

// to[t, b] = matrix from[t, b] + bias
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

static void one_product(const float *a, long a_stride, const void *packed, long K, long N, Range rows,
                        const Columns &columns, bool descending, float *c, long c_stride,
                        float *space) {
    Products::product(a, a_stride, packed, K, rows, columns, descending, c, c_stride, space, nullptr);
}

Crowding crowding;  // one for all loops of the process; see `agree`

static_assert(PANEL % PW == 0);

}  // namespace

extern "C" {
extern Kernels kernels;
Kernels kernels = {Products::enter, Products::leave, Products::pack, one_product,
                   bulk_product,    nullptr,         &crowding};

// of another kind's table, what loops have found of how many cores there are
void agree(const Kernels *other) { kernels.crowding = other->crowding; }

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
