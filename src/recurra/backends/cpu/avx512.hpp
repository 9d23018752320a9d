// The instructions of AVX-512 that the language's vectors do not reach, by names of our own.
//
// GCC's header of all instructions takes longer to read than most loops take to compile. So where
// its builtins are known to be what that header makes of them, they are called by name.
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 16
#define BUILTIN(builtin, intrinsic) builtin
#else
#include <immintrin.h>
#define BUILTIN(builtin, intrinsic) intrinsic
#endif

namespace {

typedef float f16 __attribute__((vector_size(64)));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef double f64x8 __attribute__((vector_size(64)));
typedef double f64x4 __attribute__((vector_size(32)));
typedef float f8 __attribute__((vector_size(32)));
typedef float f4 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));

constexpr uint16_t ALL = 0xffff;
constexpr int AS_SET = 4;            // the rounding that the thread is set to
constexpr int TO_NEAREST_QUIET = 8;  // whole numbers, and no flag is raised

// lanes of `mask`, the others 0
INLINE f16 load_lanes(const float *p, uint16_t mask) {
    return BUILTIN(__builtin_ia32_loadups512_mask(p, f16{}, mask),
                   (f16)_mm512_maskz_loadu_ps((__mmask16)mask, p));
}
INLINE void store_lanes(float *p, f16 a, uint16_t mask) {
    BUILTIN(__builtin_ia32_storeups512_mask(p, a, mask),
            _mm512_mask_storeu_ps(p, (__mmask16)mask, (__m512)a));
}
// b in the lanes of `mask`, a in the others
INLINE f16 blended(f16 a, f16 b, uint16_t mask) {
    return BUILTIN(__builtin_ia32_blendmps_512_mask(a, b, mask),
                   (f16)_mm512_mask_blend_ps((__mmask16)mask, (__m512)a, (__m512)b));
}
// where one of two is NaN these give b
INLINE f16 lesser(f16 a, f16 b) {
    return BUILTIN(__builtin_ia32_minps512_mask(a, b, f16{}, ALL, AS_SET),
                   (f16)_mm512_min_ps((__m512)a, (__m512)b));
}
INLINE f16 greater(f16 a, f16 b) {
    return BUILTIN(__builtin_ia32_maxps512_mask(a, b, f16{}, ALL, AS_SET),
                   (f16)_mm512_max_ps((__m512)a, (__m512)b));
}
INLINE f16 to_whole(f16 a) {
    return BUILTIN(__builtin_ia32_rndscaleps_mask(a, TO_NEAREST_QUIET, f16{}, ALL, AS_SET),
                   (f16)_mm512_roundscale_ps((__m512)a, TO_NEAREST_QUIET));
}
// a times 2^n for whole n
INLINE f16 scaled(f16 a, f16 n) {
    return BUILTIN(__builtin_ia32_scalefps512_mask(a, n, f16{}, ALL, AS_SET),
                   (f16)_mm512_scalef_ps((__m512)a, (__m512)n));
}
// 1 / a to 14 bits
INLINE f16 reciprocal_estimate(f16 a) {
    return BUILTIN(__builtin_ia32_rcp14ps512_mask(a, f16{}, ALL),
                   (f16)_mm512_rcp14_ps((__m512)a));
}
INLINE f16 square_root(f16 a) {
    return BUILTIN(__builtin_ia32_sqrtps512_mask(a, f16{}, ALL, AS_SET),
                   (f16)_mm512_sqrt_ps((__m512)a));
}
// lane by lane the one of a's and b's 32 that `order` names
INLINE f16 chosen(f16 a, i16 order, f16 b) {
    return BUILTIN(__builtin_ia32_vpermt2varps512_mask(order, a, b, ALL),
                   (f16)_mm512_permutex2var_ps((__m512)a, (__m512i)order, (__m512)b));
}
INLINE float sum_of_lanes(f16 a) {
#if defined(__clang__) || __GNUC__ >= 16
    return _mm512_reduce_add_ps((__m512)a);
#else
    const f8 high = (f8)__builtin_ia32_extractf64x4_mask((f64x8)a, 1, f64x4{}, 0xff);
    const f8 low = (f8)__builtin_ia32_extractf64x4_mask((f64x8)a, 0, f64x4{}, 0xff);
    const f8 eight = high + low;
    const f4 four = __builtin_ia32_vextractf128_ps256(eight, 1) + __builtin_ia32_vextractf128_ps256(eight, 0);
    const f4 two = four + __builtin_shuffle(four, i4{2, 3, 0, 1});
    return two[0] + two[1];
#endif
}

}  // namespace
#undef BUILTIN
