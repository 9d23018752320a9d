// What runs compiled loops one step at a time: the layers of a step, and the loop that writes text.
//
// Letters: B sequences of the batch, V tokens of the vocabulary.

#include <algorithm>
#include <cmath>
#include <new>
#include <numeric>

namespace {

void set_input(const Layer &layer, long which, const float *data) {
    const_cast<Array *>(layer.call->arrays)[which].data = const_cast<float *>(data);
}

// whether the weights are still those that were packed
bool as_packed(Steps *s) {
    const bool fresh = s->fresh;
    s->fresh = 0;
    return fresh || !s->watch || look(s->watch);
}

// the output of so many layers, the first ones; x is null where their input was looked up
const float *through(Steps *s, const float *x, long num_layers) {
    for (long i = 0; i < num_layers; ++i) {
        const Layer &layer = s->layers[i];
        if (layer.x >= 0) set_input(layer, layer.x, x);
        if (layer.step_index) *layer.step_index = (float)s->index;
        // every step runs at t = 0, where the direction alone says which slot is read and written
        layer.call->direction = s->slot ? -1 : 1;
        layer.run(layer.call);
        x = layer.output[s->slot];
    }
    s->slot ^= 1;
    s->index += 1;
    return x;
}

// the output of the last layer
const float *advance(Steps *s, const float *x) { return through(s, x, s->num_layers); }

bool look_up(Steps *s, const int64_t *ids) {
    for (long r = 0; r < s->batch; ++r)
        if (ids[r] < 0 || ids[r] >= s->vocabulary) return false;
    for (long i = 0; i < s->num_lookups; ++i) {
        const Lookup &l = s->lookups[i];
        if (!l.rows) {
            set_input(s->layers[0], l.input, l.table + ids[0] * l.width);
            continue;
        }
        for (long r = 0; r < s->batch; ++r)
            std::memcpy(l.rows + r * l.width, l.table + ids[r] * l.width,
                        l.width * sizeof(float));
    }
    return true;
}

void give(const Steps *s, const float *output, float *y) {
    std::memcpy(y, output, s->batch * s->output_size * sizeof(float));
}

// the scores with those of forbidden tokens as low as can be
const float *allowed(const TokenWriter *w, const float *scores, long V) {
    if (w->num_forbidden == 0) return scores;
    std::memcpy(w->scores, scores, V * sizeof(float));
    for (long i = 0; i < w->num_forbidden; ++i) w->scores[w->forbidden[i]] = -INFINITY;
    return w->scores;
}

// e^((score - best) / temperature) of every token
void weigh(const float *scores, float best, float temperature, long V, float *weights) {
    const auto weight = [&](vf score) { return v_exp((score - best) / splat(temperature)); };
    long j = 0;
    for (; j + VL <= V; j += VL) store(weights + j, weight(load(scores + j)));
    if (j < V) store_first(weights + j, weight(load_first(scores + j, V - j)), V - j);
}

// set to 0 the weights of all tokens but the top_k likeliest, and of these the top_p share
void keep_likeliest(const TokenWriter *w, const float *scores, long V) {
    const auto likelier = [&](int32_t a, int32_t b) {
        return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
    };
    int32_t *const first = w->candidates, *last = first + V;
    std::iota(first, last, 0);
    if (w->top_k < V) {
        std::nth_element(first, first + w->top_k, last, likelier);
        for (int32_t *id = first + w->top_k; id < last; ++id) w->weights[*id] = 0;
        last = first + w->top_k;
    }
    if (w->top_p < 1) {
        double total = 0, share = 0;
        for (int32_t *id = first; id < last; ++id) total += w->weights[*id];
        const auto less_likely = [&](int32_t a, int32_t b) { return likelier(b, a); };
        std::make_heap(first, last, less_likely);
        for (; first < last && share < w->top_p * total; --last) {
            share += w->weights[*first];
            std::pop_heap(first, last, less_likely);
        }
        for (int32_t *id = first; id < last; ++id) w->weights[*id] = 0;
    }
}

// the first token with which the weights add up to more than `uniform` of their sum
long pick(const float *weights, long V, double uniform) {
    double total = 0, sum = 0;
    for (long i = 0; i < V; ++i) total += weights[i];
    for (long i = 0; i < V; ++i) {
        sum += weights[i];
        if (sum > uniform * total) return i;
    }
    return V - 1;  // not reached: uniform is below 1
}

constexpr long BLOCK = 4 * PANEL;  // scores of a row that are looked at at once

// What was seen of a row's scores, a block of them at a time: the largest ones, and what their sum
// of e^score is. The blocks are the same ones whoever computes them, and so are the bits.
class Seen {
    float *const values;  // the largest first, of equal ones the one of the lower id; NaN is largest
    int64_t *const ids;
    const long count, without;
    const bool adds;
    float most = -INFINITY;
    double sum = 0;  // of e^(score - most)

    static bool is_above(float score, float value) { return value == value && !(score <= value); }

    void look_at(const float *scores, long first, long begin, long end) {
        for (long j = begin; j < end; ++j) {
            if (!is_above(scores[j], values[count - 1]) || first + j == without) continue;
            long k = count - 1;
            for (; k > 0 && is_above(scores[j], values[k - 1]); --k)
                values[k] = values[k - 1], ids[k] = ids[k - 1];
            values[k] = scores[j], ids[k] = first + j;
        }
    }

    // what can be none of the largest is seen a few vectors at a time
    void find(const float *scores, long first, long n) {
        constexpr long FEW = 4 * VL;
        long j = 0;
        for (; j + FEW <= n; j += FEW) {
            const vf least = splat(values[count - 1]);
            const vi below = (load(scores + j) <= least) & (load(scores + j + VL) <= least) &
                             (load(scores + j + 2 * VL) <= least) &
                             (load(scores + j + 3 * VL) <= least);
            if (any(~below)) look_at(scores, first, j, j + FEW);
        }
        look_at(scores, first, j, n);
    }

    void add(const float *scores, long n) {
        vf largest = lowest();
        long j = 0;
        for (; j + VL <= n; j += VL) largest = v_maximum(load(scores + j), largest);
        float above = lane_max(largest);
        for (; j < n; ++j)
            above = (scores[j] > above || scores[j] != scores[j]) ? scores[j] : above;
        const bool is_settled = most != most || most == INFINITY;
        if (above != above || (above == INFINITY && !is_settled)) most = above;
        if (!std::isfinite(above) || is_settled) return;
        if (above > most) {
            sum *= std::exp(most - above);
            most = above;
        }
        vf sums[2] = {};
        for (j = 0; j + 2 * VL <= n; j += 2 * VL)
            for (long i = 0; i < 2; ++i) sums[i] += v_exp(load(scores + j + i * VL) - splat(most));
        float rest = 0;
        for (; j < n; ++j) rest += std::exp(scores[j] - most);
        sum += lane_sum(sums[0] + sums[1]) + rest;
    }

  public:
    Seen(float *values, int64_t *ids, long count, long without, bool adds)
        : values(values), ids(ids), count(count), without(without), adds(adds) {
        for (long k = 0; k < count; ++k) values[k] = -INFINITY, ids[k] = 0;
    }

    // scores of ids from `first` on, a block or what is left
    void see(const float *scores, long first, long n) {
        find(scores, first, n);
        if (adds) add(scores, n);
    }

    // the logarithm of the sum of e^score; NaN where it is infinite: no share of it means anything
    float log_of_sum() const { return std::isfinite(most) ? most + (float)std::log(sum) : NAN; }
};

// What `choose` is asked for.
struct Choice {
    const long count, mark, without;
    const bool log_probabilities;
    float *const values;
    int64_t *const ids;
    float *const of_mark;

    Seen seen_of(long row) const {
        return {values + row * count, ids + row * count, count, without, log_probabilities};
    }
    void end(const Seen &seen, long row, float mark_score) const {
        const float total = log_probabilities ? seen.log_of_sum() : 0;
        for (long k = 0; k < count; ++k) values[row * count + k] -= total;
        of_mark[row] = mark_score - total;
    }
};

// of scores [B, V] that are there
void choose_of(const float *scores, long V, Range rows, const Choice &choice) {
    for (long r = rows.first; r < rows.last; ++r) {
        const float *const row = scores + r * V;
        Seen seen = choice.seen_of(r);
        for (long n = 0; n < V; n += BLOCK) seen.see(row + n, n, n + BLOCK < V ? BLOCK : V - n);
        choice.end(seen, r, row[choice.mark]);
    }
}

constexpr long FEW_ROWS = 8;  // whose scores stay in the cache as they are
constexpr long SEEN_ROWS = 64;  // rows whose blocks of scores, with a block's weights, stay in the L2

// Of scores W x + b, computed a block at a time for a few rows, and looked at while they are in the
// cache: all of them are as large as what it takes to compute them.
void choose_of_affine(const Layer &layer, const float *x, long V, Range rows, float *space,
                      const Choice &choice) {
    const Call &c = *layer.call;
    const long K = layer.affine;
    const float *const bias = c.arrays[1].data;
    float *const scores = c.scratch + rows.first * (panels(V) * PW);
    for (long r0 = rows.first; r0 < rows.last; r0 += SEEN_ROWS) {
        const long there = r0 + SEEN_ROWS < rows.last ? SEEN_ROWS : rows.last - r0;
        alignas(Seen) char memory[SEEN_ROWS * sizeof(Seen)];
        Seen *const seen = (Seen *)memory;
        float marks[SEEN_ROWS] = {};
        for (long r = 0; r < there; ++r) new (seen + r) Seen(choice.seen_of(r0 + r));
        for (long n = 0; n < V; n += BLOCK) {
            const long width = n + BLOCK < V ? BLOCK : V - n;
            c.kernels->product(x + r0 * K, K, c.matrices[0].packed, K, V, {0, there},
                               {{n, n + width}, 1, 0}, false, scores - n, BLOCK, space);
            for (long r = 0; r < there; ++r) {
                float *const row = scores + r * BLOCK;
                long j = 0;
                for (; j + VL <= width; j += VL) store(row + j, load(bias + n + j) + load(row + j));
                for (; j < width; ++j) row[j] += bias[n + j];
                if (choice.mark >= n && choice.mark < n + width) marks[r] = row[choice.mark - n];
                seen[r].see(row, n, width);
            }
        }
        for (long r = 0; r < there; ++r) choice.end(seen[r], r0 + r, marks[r]);
    }
}

}  // namespace

extern "C" {
extern const Fact facts[];
const Fact facts[] = {FACT(sizeof(Lookup)), FACT(sizeof(Layer)), FACT(sizeof(Steps)),
                      FACT(sizeof(Watch)),  FACT(sizeof(Watched)), FACT(sizeof(TokenWriter)),
                      {nullptr, 0}};
}

// One step: y [B, O] from features x [B, I]. Returns 0, with nothing done, when weights changed.
extern "C" long step(Steps *s, const float *x, float *y) {
    if (!as_packed(s)) return 0;
    give(s, advance(s, x), y);
    return 1;
}

// One step: y [B, O] from token ids [B]. Returns 0, with nothing done, when one is out of range,
// or weights changed.
extern "C" long step_on_ids(Steps *s, const int64_t *ids, float *y) {
    if (!as_packed(s) || !look_up(s, ids)) return 0;
    give(s, advance(s, nullptr), y);
    return 1;
}

// One step on token ids [B], and of its output, which are scores [B, V], the `count` largest of each
// sequence: values and their ids, [B, count], and the value of `mark`, [B], which is not among them
// if it is `left_out`. Values are log-probabilities if these are wanted, else scores. Returns 0 as
// `step_on_ids` does.
extern "C" long choose(Steps *s, const int64_t *ids, long count, long mark, long left_out,
                       long log_probabilities, float *values, int64_t *chosen, float *of_mark) {
    if (!as_packed(s) || !look_up(s, ids)) return 0;
    const long V = s->output_size, others = s->num_layers - 1;
    const Layer &last = s->layers[others];
    const Choice choice = {count, mark, left_out ? mark : -1, log_probabilities != 0,
                           values, chosen, of_mark};
    const bool by_block = last.affine && others && s->batch >= FEW_ROWS && V >= 2 * BLOCK;
    const float *const y = through(s, nullptr, by_block ? others : others + 1);
    const Call &c = *last.call;
    on_threads(c.threads, *c.kernels->crowding, [&](Barrier &, int threads, int me) {
        const Range own = Range{0, s->batch}.part(me, threads);
        const Thread thread(*c.kernels);
        if (by_block) choose_of_affine(last, y, V, own, space_of(c, threads, me), choice);
        else choose_of(y, V, own, choice);
    });
    return 1;
}

// A look takes a good part of a small layer's step, and a text is written in milliseconds.
constexpr long LOOK_EVERY = 32;

// Reads `token`, draws one by uniforms[0], reads that, and so on: `count` tokens, to ids. Stops
// early at scores without a finite largest one, which goes to *largest, and where a look, one for
// LOOK_EVERY tokens, finds that weights changed, which leaves *largest alone. Returns how many it drew.
extern "C" long write_tokens(TokenWriter *w, int64_t token, const double *uniforms, long count,
                             int64_t *ids, float *largest) {
    const long V = w->steps->output_size;
    for (long n = 0; n < count; ++n) {
        if (n % LOOK_EVERY == 0 && !as_packed(w->steps)) return n;
        if (!look_up(w->steps, &token)) return n;
        const float *scores = allowed(w, advance(w->steps, nullptr), V);
        const float best = max_over(scores, V);
        if (!std::isfinite(best)) {
            *largest = best;
            return n;
        }
        if (w->temperature == 0) {
            token = std::find(scores, scores + V, best) - scores;
        } else {
            weigh(scores, best, w->temperature, V, w->weights);
            for (long i = 0; i < w->num_forbidden; ++i) w->weights[w->forbidden[i]] = 0;
            if (w->top_k < V || w->top_p < 1) keep_likeliest(w, scores, V);
            token = pick(w->weights, V, uniforms[n]);
        }
        ids[n] = token;
    }
    return count;
}
