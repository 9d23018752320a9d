// What every generated loop stands on: vectors and their functions, threads, and what it is called
// with. Products are in products.hpp and sums.hpp, which are compiled once for all loops.
//
// Letters: R rows (sequences of the batch), K columns of a matrix, N its rows, VL lanes of a
// vector, PW rows of a packed panel. GCC/Clang vector extensions, and few of a target's intrinsics.
#include "abi.hpp"
#include "threads.hpp"
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#define INLINE static inline __attribute__((always_inline))
#if defined(__AVX512F__)
#include "avx512.hpp"
#endif

namespace {

#if defined(LANES_WANTED)
constexpr int VL = LANES_WANTED;
#elif defined(__AVX512F__)
constexpr int VL = 16;
#elif defined(__AVX2__)
constexpr int VL = 8;
#else
constexpr int VL = 4;
#endif

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));
typedef float vf_unaligned __attribute__((vector_size(VL * 4), aligned(4), may_alias));

// minus zero, because a compiler may drop that, and may not drop plus zero (of -0)
INLINE vf splat(float a) { return a - vf{}; }
INLINE vi splat_int(int32_t a) { return vi{} + a; }
INLINE vf load(const float *p) { return *(const vf_unaligned *)p; }
INLINE void store(float *p, vf v) { *(vf_unaligned *)p = v; }

// the first n < VL lanes; the others read as 0 and are not written
INLINE vf load_first(const float *p, long n) {
#if defined(__AVX512F__)
    return load_lanes(p, (uint16_t)((1u << n) - 1));
#else
    vf v = {};
    for (long i = 0; i < n; ++i) v[i] = p[i];
    return v;
#endif
}
INLINE void store_first(float *p, vf v, long n) {
#if defined(__AVX512F__)
    store_lanes(p, v, (uint16_t)((1u << n) - 1));
#else
    for (long i = 0; i < n; ++i) p[i] = v[i];
#endif
}

template <bool TAIL> INLINE vf get(const float *p, long n) {
    if constexpr (TAIL) return load_first(p, n);
    else return load(p);
}
template <bool TAIL> INLINE void put(float *p, vf v, long n) {
    if constexpr (TAIL) store_first(p, v, n);
    else store(p, v);
}

// ---- elementwise functions ---------------------------------------------------------------------
// tests/backends/test_cpu_functions.py holds each to a few units in the last place over the whole
// range of float, infinities and NaN included.

INLINE vf where(vf condition, vf a, vf b) { return condition != 0 ? a : b; }
INLINE vf from_mask(vi mask) { return mask ? splat(1.0f) : splat(0.0f); }
INLINE vf v_abs(vf a) { return (vf)((vi)a & splat_int(0x7fffffff)); }
INLINE vf with_sign_of(vf a, vf sign) {
    return (vf)(((vi)a & splat_int(0x7fffffff)) | ((vi)sign & splat_int((int32_t)0x80000000)));
}
INLINE vf v_maximum(vf a, vf b) { return ((a > b) | (a != a)) ? a : b; }
INLINE vf v_minimum(vf a, vf b) { return ((a < b) | (a != a)) ? a : b; }
INLINE vf v_relu(vf a) { return a < 0 ? splat(0.0f) : a; }
// n / d with the reciprocal of d: rounded as a quotient is, and what is infinite or zero as there
INLINE vf divided(vf n, vf d, vf reciprocal) {
    vf q = n * reciprocal, closer = q + reciprocal * (n - d * q);
    return closer == closer ? closer : q;
}
INLINE vf v_clamp(vf a, float lo, float hi) {
#if defined(__AVX512F__)
    // of two operands these instructions give the second where one is NaN: a NaN passes through
    return lesser(splat(hi), greater(splat(lo), a));
#else
    a = a < splat(lo) ? splat(lo) : a;
    return a > splat(hi) ? splat(hi) : a;
#endif
}
INLINE vf v_sign(vf a) { return from_mask(a > 0) - from_mask(a < 0); }
INLINE vf v_floor(vf a) {
    const float most = 8388608.0f;  // what is larger has no fraction
    const vi cut = __builtin_convertvector(v_clamp(a, -most, most), vi);
    const vf whole = __builtin_convertvector(cut, vf);
    return v_abs(a) < splat(most) ? whole - from_mask(whole > a) : a;
}

// 2^n for integers n in [-126, 127]
INLINE vf power_of_two(vi n) { return (vf)((n + 127) << 23); }

// the nearest integer, for |a| < 2^31; a conversion, which no compiler flag can optimise away
INLINE vi nearest(vf a) { return __builtin_convertvector(a + with_sign_of(splat(0.5f), a), vi); }

// a - m ln 2, with ln 2 in two parts of which the first has few digits
INLINE vf exp_remainder(vf a, vf m) { return a - m * 0.693359375f + m * 2.12194440e-4f; }

// e^r - 1 for |r| <= ln 2 / 2
INLINE vf exp_less_one_reduced(vf r) {
    vf p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return p * (r * r) + r;
}

#if defined(__AVX512F__)
INLINE vf nearest_whole(vf a) { return to_whole(a); }
INLINE vf power_of_two(vf m) { return scaled(splat(1.0f), m); }

// e^a for a from -110 to 100
INLINE vf exp_within(vf a) {
    vf m = nearest_whole(a * 1.44269504088896341f);
    vf y = exp_less_one_reduced(exp_remainder(a, m)) + 1.0f;
    return scaled(y, m);
}
INLINE vf v_exp(vf a) { return exp_within(v_clamp(a, -110.0f, 100.0f)); }

// n / d for normal d: an estimate to 14 bits and a correction, which squares its error, take less
// than the division
INLINE vf quotient(vf n, vf d) {
    vf reciprocal = reciprocal_estimate(d);
    vf q = n * reciprocal;
    return q + reciprocal * (n - d * q);
}
INLINE vf v_sigmoid(vf a) {
    const vf below = (vf)((vi)a | splat_int((int32_t)0x80000000));  // -|a|
    vf e = exp_within(greater(splat(-110.0f), below));
    return quotient(a < 0 ? e : splat(1.0f), 1.0f + e);
}
#else
INLINE vf nearest_whole(vf a) { return __builtin_convertvector(nearest(a), vf); }
INLINE vf power_of_two(vf m) { return power_of_two(__builtin_convertvector(m, vi)); }
INLINE vf quotient(vf n, vf d) { return n / d; }

INLINE vf v_exp(vf a) {
    vf x = a < splat(-104.0f) ? splat(-104.0f) : a;
    x = x > splat(89.0f) ? splat(89.0f) : x;
    x = x != x ? splat(0.0f) : x;
    vi n = nearest(x * 1.44269504088896341f);
    vf m = __builtin_convertvector(n, vf);
    vf p = exp_less_one_reduced(exp_remainder(x, m)) + 1.0f;
    // in two steps, because 2^n itself may be subnormal or too large
    vi half = n >> 1;
    vf y = p * power_of_two(half) * power_of_two(n - half);
    return a != a ? a : y;
}
INLINE vf v_sigmoid(vf a) {
    vf e = v_exp(-v_abs(a));
    vf numerator = a < 0 ? e : splat(1.0f);
    return a != a ? a : numerator / (1.0f + e);
}
#endif

// (e^2a - 1) / (e^2a + 1), from 2^m (e^r - 1) + (2^m - 1), which keeps small numbers
INLINE vf v_tanh(vf a) {
    vf x = 2.0f * v_clamp(a, -9.02f, 9.02f);  // beyond it tanh is 1 in float32
    vf m = nearest_whole(x * 1.44269504088896341f), power = power_of_two(m);
    vf less = power * exp_less_one_reduced(exp_remainder(x, m)) + (power - 1.0f);
    return quotient(less, less + 2.0f);
}

INLINE vf v_log(vf a) {
    const float infinity = std::numeric_limits<float>::infinity();
    vi tiny = a < 1.17549435e-38f;
    vf x = tiny ? a * 8388608.0f : a;
    vi bits = (vi)x;
    vi e = ((bits >> 23) & 0xff) - 126;
    vf m = (vf)((bits & 0x007fffff) | 0x3f000000);  // in [0.5, 1)
    vi low = m < 0.707106781186547524f;
    e = low ? e - 1 : e;
    m = low ? m + m - 1.0f : m - 1.0f;
    vf n = __builtin_convertvector(e, vf) - (tiny ? splat(23.0f) : splat(0.0f));
    vf z = m * m;
    vf p = splat(7.0376836292e-2f);
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    vf y = p * m * z - 2.12194440e-4f * n - 0.5f * z + m + 0.693359375f * n;
    y = a == splat(infinity) ? a : y;
    y = a == splat(0.0f) ? splat(-infinity) : y;
    return ((a < 0) | (a != a)) ? splat(std::numeric_limits<float>::quiet_NaN()) : y;
}

// Kahan's: the rounding of e^a is undone by dividing by the logarithm of what was rounded
INLINE vf v_expm1(vf a) {
    vf e = v_exp(a);
    vf less = e - 1.0f;
    vf y = less * a / v_log(e);
    y = v_abs(a) > 16.0f ? less : y;
    y = e == 1.0f ? a : y;
    return less == -1.0f ? splat(-1.0f) : y;
}

INLINE vf v_log1p(vf a) {
    vf w = 1.0f + a;
    vf y = v_log(w) * a / (w - 1.0f);
    y = w == 1.0f ? a : y;
    return w == splat(std::numeric_limits<float>::infinity()) ? w : y;
}

INLINE vf v_softplus(vf a) { return v_relu(a) + v_log1p(v_exp(-v_abs(a))); }
INLINE vf v_sqrt(vf a) {
#if defined(__AVX512F__)
    return square_root(a);
#else
    vf y;
    for (int i = 0; i < VL; ++i) y[i] = __builtin_sqrtf(a[i]);
    return y;
#endif
}

INLINE vf v_erf(vf a) {
    vf x = v_abs(a), z = a * a;
    vf p = splat(7.853861353153693e-5f);
    p = p * z - 8.010193625184903e-4f;
    p = p * z + 5.188327685732524e-3f;
    p = p * z - 2.685381193529856e-2f;
    p = p * z + 1.128358514861418e-1f;
    p = p * z - 3.761262582423300e-1f;
    p = p * z + 1.128379165726710f;
    vf small = a * p;
    vf limited = x > 10.0f ? splat(10.0f) : (x < 1.0f ? splat(1.0f) : x);
    vf q = 1.0f / limited, y = q * q;
    vf near = splat(2.326819970068386e-2f);
    near = near * y - 1.387039388740657e-1f;
    near = near * y + 3.687424674597105e-1f;
    near = near * y - 5.824733027278666e-1f;
    near = near * y + 6.210004621745983e-1f;
    near = near * y - 4.944515323274145e-1f;
    near = near * y + 3.404879937665872e-1f;
    near = near * y - 2.741127028184656e-1f;
    near = near * y + 5.638259427386472e-1f;
    vf far = splat(-1.047766399936249e+1f);
    far = far * y + 1.297719955372516e+1f;
    far = far * y - 7.495518717768503f;
    far = far * y + 2.921019019210786f;
    far = far * y - 1.015265279202700f;
    far = far * y + 4.218463358204948e-1f;
    far = far * y - 2.820767439740514e-1f;
    far = far * y + 5.641895067754075e-1f;
    vf complement = v_exp(-limited * limited) * q * (limited < 2.0f ? near : far);
    vf big = with_sign_of(1.0f - complement, a);
    vf result = x < 1.0f ? small : big;
    return a != a ? a : result;
}

template <typename F> INLINE vf lanewise(F f, vf a) {
    vf y;
    for (int i = 0; i < VL; ++i) y[i] = f(a[i]);
    return y;
}
template <typename F> INLINE vf lanewise(F f, vf a, vf b) {
    vf y;
    for (int i = 0; i < VL; ++i) y[i] = f(a[i], b[i]);
    return y;
}
INLINE vf v_pow(vf a, vf b) {
    return lanewise([](float x, float y) { return __builtin_powf(x, y); }, a, b);
}

// sine of a + quarter * pi / 2: Cody and Waite's reduction, good to |a| of a few thousand
INLINE vf reduced_sine(vf a, int quarter) {
    vi n = nearest(a * 0.636619772367581343f);
    vf m = __builtin_convertvector(n, vf);
    vf r = a - m * 1.5703125f - m * 4.837512969970703125e-4f - m * 7.54978995489188216e-8f;
    vf z = r * r;
    vf s = splat(-1.9515295891e-4f);
    s = s * z + 8.3321608736e-3f;
    s = s * z - 1.6666654611e-1f;
    s = s * z * r + r;
    vf c = splat(2.443315711809948e-5f);
    c = c * z - 1.388731625493765e-3f;
    c = c * z + 4.166664568298827e-2f;
    c = c * z * z - 0.5f * z + 1.0f;
    vi turn = (n + quarter) & 3;
    vf y = (turn & 1) != 0 ? c : s;
    return (turn & 2) != 0 ? -y : y;
}
INLINE bool any(vi mask) {
    int32_t found = 0;
    for (int i = 0; i < VL; ++i) found |= mask[i];
    return found != 0;
}
INLINE vf v_sin(vf a) {
    if (__builtin_expect(any(~(v_abs(a) <= 1000.0f)), 0))
        return lanewise([](float x) { return __builtin_sinf(x); }, a);
    return reduced_sine(a, 0);
}
INLINE vf v_cos(vf a) {
    if (__builtin_expect(any(~(v_abs(a) <= 1000.0f)), 0))
        return lanewise([](float x) { return __builtin_cosf(x); }, a);
    return reduced_sine(a, 1);
}

INLINE float lane_sum(vf a) {
#if defined(__AVX512F__)
    return sum_of_lanes(a);
#else
    float s = 0;
    for (int i = 0; i < VL; ++i) s += a[i];
    return s;
#endif
}

// over the n features at p
INLINE float sum_over(const float *p, long n) {
    vf total = {};
    long j = 0;
    for (; j + VL <= n; j += VL) total += load(p + j);
    if (j < n) total += load_first(p + j, n - j);
    return lane_sum(total);
}
INLINE float max_over(const float *p, long n) {
    float largest = p[0];
    for (long j = 1; j < n; ++j) largest = (p[j] > largest || p[j] != p[j]) ? p[j] : largest;
    return largest;
}

#include "rows.hpp"

// A matrix [N, K] is packed into panels of PW rows, the last one filled up with zeros.
constexpr int NV = VL >= 8 ? (VL == 16 ? 4 : 2) : 4;
constexpr int PW = NV * VL;

INLINE long panels(long N) { return (N + PW - 1) / PW; }

struct Range {  // [first, last)
    long first, last;

    long size() const { return last - first; }
    bool empty() const { return last <= first; }
    Range part(long i, long parts) const {
        return {first + size() * i / parts, first + size() * (i + 1) / parts};
    }
    Range times(long factor) const { return {first * factor, last * factor}; }
    Range within(long low, long high) const {
        return {first > low ? first : low, last < high ? last : high};
    }
    // the i-th of it, from the other end when `descending`
    long at(long i, bool descending) const { return descending ? last - 1 - i : first + i; }
};

INLINE Range panels_of(Range columns) {
    return columns.empty() ? Range{0, 0} : Range{columns.first / PW, panels(columns.last)};
}

struct Columns {  // some of a matrix's rows, which are columns of what it computes
    Range each;
    long parts, apart;  // so many ranges, the first of them is `each`

    Range part(long i, bool descending) const {
        const long at = apart * Range{0, parts}.at(i, descending);
        return {each.first + at, each.last + at};
    }
};

// What one of a team of threads does: sequences of its own or, `by_panel`, columns of its own of all
// sequences. With `unit` the columns are the same features of every part of that size (the gates of
// a cell), so that a thread goes on with what it has computed.
struct Share {
    int me, threads;
    bool by_panel;
    long unit;

    static Range vectors(long N, int me, int threads) {
        const Range own = Range{0, (N + VL - 1) / VL}.part(me, threads);
        return Range{own.first * VL, own.last * VL}.within(0, N);
    }
    Range rows(long B) const { return Range{0, B}.part(me, threads); }
    Columns columns(long N) const {
        if (!by_panel) return {{0, N}, 1, 0};
        if (unit && N % unit == 0) return {vectors(unit, me, threads), N / unit, unit};
        return {vectors(N, me, threads), 1, 0};
    }
};

}  // namespace

// ---- what a generated loop is called with ------------------------------------------------------

// Rows of some steps of an array, those of `live` sequences of each step, which has `apart` rows.
struct Rows {
    const float *data;
    long row, live, apart, first;

    const float *at(long r) const {
        r += first;
        return data + (r < live ? r : r / live * apart + r % live) * row;
    }
    Rows after(long r) const { return {data, row, live, apart, first + r}; }
};

struct Chunk {
    long t0, t1, B;  // its steps are [t0, t1)
    long live;       // the sequences that take a step of it, the first ones
    Share share;

    long steps() const { return t1 - t0; }
    // of all its steps, those of a step side by side; whole ones lie as one block
    long rows() const { return steps() * live; }
    Rows rows_of(const Array &array, long shift) const {
        const float *data = array.data + (array.local ? 0 : t0) * array.step + shift;
        return {data, array.row, live == B ? rows() : live, B, 0};
    }
};

struct Sum {  // over the steps and sequences of a chunk
    const Array *right;  // null for the sum of the left operand alone, and then K is 1
    long shift, K;
    float *out;  // [N, K], or null where nobody wants it
};

// Products of one kind, and what stands around them. `space` is a thread's own, for what they pack.
struct Kernels {
    void (*enter)(), (*leave)();  // what a thread does before its first product, and after its last
    // panels [panel0, panel1) of a matrix [N, K]
    void (*pack)(const Matrix &matrix, long N, long K, long panel0, long panel1);
    // c[r, n] = sum over k of a[r, k] w[n, k], for some rows and columns; `descending` goes through
    // w from its end: where w outgrows the cache, its end is what the product before has left there
    void (*product)(const float *a, long a_stride, const void *packed, long K, long N, Range rows,
                    const Columns &columns, bool descending, float *c, long c_stride, float *space);
    // to[t, b] = matrix from[t, b] + bias, for all steps of a chunk
    void (*bulk_product)(const Chunk &chunk, const Array &from, long shift, const Matrix &matrix,
                         long N, long K, const float *bias, const Array &to, float *space);
    // out = (out if add) + the sum of left right^T [N, K], for each of some sums with the same left
    void (*bulk_sums)(const Chunk &chunk, const Array &left, long shift, long N, const Sum *sums,
                      long num_sums, bool add, float *space);
    Crowding *crowding;
};

// While it lives, its thread counts subnormal numbers (below 1.2e-38) as zero. A gradient that
// vanishes through time passes through them, and x86 takes far longer for each.
class WithoutSubnormals {
#if defined(__SSE__)
    static constexpr unsigned RESULTS = 0x8000, OPERANDS = 0x0040;
    const unsigned before = __builtin_ia32_stmxcsr();

  public:
    WithoutSubnormals() { __builtin_ia32_ldmxcsr(before | RESULTS | OPERANDS); }
    ~WithoutSubnormals() { __builtin_ia32_ldmxcsr(before); }
#endif
};

struct Thread {  // while it lives, its thread may call products
    WithoutSubnormals mode;
    const Kernels &kernels;
    explicit Thread(const Kernels &kernels) : kernels(kernels) { kernels.enter(); }
    ~Thread() { kernels.leave(); }
};

// ---- what takes how long -----------------------------------------------------------------------

// Counts the ticks of a clock that its thread spends in each part of a loop, where MEASURED is
// defined: in a library of its own, which nobody calls but who wants to know. Elsewhere it is
// nothing.
class Meter {
#if defined(MEASURED)
    long *const out;
    long ticks[NUM_PARTS] = {}, since = now();
    Part part = PACKING;

    static long now() {
#if defined(__x86_64__) || defined(__i386__)
        return (long)__builtin_ia32_rdtsc();
#else
        timespec time;
        clock_gettime(CLOCK_MONOTONIC, &time);
        return time.tv_sec * 1000000000L + time.tv_nsec;
#endif
    }

  public:
    Meter(const Call &c, int me) : out(c.spent + me * NUM_PARTS) {}
    ~Meter() {
        in(PACKING);
        for (int i = 0; i < NUM_PARTS; ++i) out[i] += ticks[i];
    }
    void in(Part next) {
        const long at = now();
        ticks[part] += at - since;
        since = at;
        part = next;
    }
    void wait(Barrier &barrier, int threads) {
        const Part was = part;
        in(WAITING);
        barrier.wait(threads);
        in(was);
    }
#else
  public:
    Meter(const Call &, int) {}
    void in(Part) {}
    void wait(Barrier &barrier, int threads) { barrier.wait(threads); }
#endif
};

namespace {

// a thread's own part; there may be fewer threads than were asked for
INLINE float *space_of(const Call &c, long threads, long me) {
    constexpr long PART = 64;  // numbers: what each begins at a multiple of
    return c.space + me * (c.space_size / threads / PART * PART);
}

INLINE float *at(const Array &array, long t, long t0) {
    return array.data + (array.local ? t - t0 : t) * array.step;
}
INLINE float *row_of(const Array &array, float *base, const int64_t *ids, long r) {
    return (array.gathered ? array.data + ids[r] * array.row : base + r * array.row);
}

}  // namespace
