// What groups over rows stand on, of a memory's positions or of another size: part of runtime.hpp.

INLINE vf lowest() { return splat(-std::numeric_limits<float>::infinity()); }
INLINE float lane_max(vf a) {
    float largest = a[0];
    for (int i = 1; i < VL; ++i) largest = (a[i] > largest || a[i] != a[i]) ? a[i] : largest;
    return largest;
}
// of the last vector of a row, which has n lanes, the others replaced
template <bool TAIL> INLINE vf kept(vf a, long n, vf others) {
    if constexpr (!TAIL) return a;
    else {
#if defined(__AVX512F__)
        return blended(others, a, (uint16_t)((1u << n) - 1));
#else
        for (long i = n; i < VL; ++i) a[i] = others[i];
        return a;
#endif
    }
}
INLINE void fill(float *p, vf value, long n) {
    for (long j = 0; j < n; ++j) p[j] = value[0];
}
// the `width` numbers around the s-th of n, zero past both ends
INLINE void window_of(const float *numbers, long n, long s, long width, float *window) {
    for (long w = 0, at = s - width / 2; w < width; ++w, ++at)
        window[w] = at >= 0 && at < n ? numbers[at] : 0.0f;
}
// what n windows have of each number, summed
INLINE void overlaps_of(const float *windows, long apart, long n, long width, float *numbers) {
    for (long s = 0; s < n; ++s) numbers[s] = 0;
    for (long s = 0; s < n; ++s)
        for (long w = 0, at = s - width / 2; w < width; ++w, ++at)
            if (at >= 0 && at < n) numbers[at] += windows[s * apart + w];
}
