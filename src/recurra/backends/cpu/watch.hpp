// Whether memory still holds what it held when something was made from it. What a program counts
// is seen elsewhere; this looks at the bytes, which other processes and libraries change as well.

#include <cstdint>
#include <cstring>

namespace {

constexpr long LINE = 64;  // bytes: what a cache fetches at once
typedef uint32_t Line __attribute__((vector_size(LINE)));
typedef uint64_t HalfLine __attribute__((vector_size(LINE)));

// Any change of one number changes it; others do but for one in 2^64.
uint64_t digest(const Watched &piece, long share) {
    constexpr uint32_t FACTOR = 0x9E3779B1u;
    constexpr long CHAINS = 4;  // so that a multiplication need not wait for the one before
    const long lines = piece.size / LINE, hop = piece.stride;
    Line sums[CHAINS] = {}, line;
    long k = share;
    for (; k + (CHAINS - 1) * hop < lines; k += CHAINS * hop)
        for (long i = 0; i < CHAINS; ++i) {
            std::memcpy(&line, piece.data + (k + i * hop) * LINE, LINE);
            sums[i] = sums[i] * FACTOR + line;
        }
    for (; k < lines; k += hop) {
        std::memcpy(&line, piece.data + k * LINE, LINE);
        sums[0] = sums[0] * FACTOR + line;
    }
    line = Line{};  // the end that is no whole line is in every share
    std::memcpy(&line, piece.data + lines * LINE, piece.size - lines * LINE);
    sums[0] = sums[0] * FACTOR + line;
    for (long i = 1; i < CHAINS; ++i) sums[0] = sums[0] * FACTOR + sums[i];
    HalfLine words;
    std::memcpy(&words, &sums[0], LINE);
    uint64_t total = 0, factor = 0x9E3779B97F4A7C15ull;
    for (long i = 0; i < LINE / 8; ++i, factor += 0xD1B54A32D192ED04ull) total += words[i] * factor;
    return total;
}

// of all lines in their order, which come faster than share after share
uint64_t digest_of_whole(const Watched &piece) {
    Watched whole = piece;
    whole.stride = 1;
    return digest(whole, 0);
}

// Whether the next share of every piece is as it was.
bool look(Watch *watch) {
    for (long i = 0; i < watch->num_pieces; ++i) {
        Watched &piece = watch->pieces[i];
        if (digest(piece, piece.next) != piece.digests[piece.next]) return false;
        if (++piece.next == piece.stride) piece.next = 0;
    }
    return true;
}

}  // namespace

// From now on, what there is now is how it was.
extern "C" void note_all(Watch *watch) {
    for (long i = 0; i < watch->num_pieces; ++i) {
        const Watched &piece = watch->pieces[i];
        for (long share = 0; share < piece.stride; ++share)
            piece.digests[share] = digest(piece, share);
        watch->pieces[i].whole = digest_of_whole(piece);
    }
}

// Whether all of it is as it was.
extern "C" long look_at_all(const Watch *watch) {
    for (long i = 0; i < watch->num_pieces; ++i) {
        const Watched &piece = watch->pieces[i];
        if (digest_of_whole(piece) != piece.whole) return 0;
    }
    return 1;
}
