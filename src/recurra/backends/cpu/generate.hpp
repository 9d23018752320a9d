// What runs compiled loops one step at a time: the layers of a step, and the loop that writes text.
//
// Letters: B sequences of the batch, V tokens of the vocabulary.

#include <algorithm>
#include <cmath>
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

// the output of the last layer; x is null where the first layer's input was looked up
const float *advance(Steps *s, const float *x) {
    for (long i = 0; i < s->num_layers; ++i) {
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

// The `count` largest scores of a row, the largest first, of equal ones the one of the lower id.
// What can be none of them is seen a block at a time.
void find_largest(const float *scores, long V, long without, long count, float *values,
                  int64_t *ids) {
    for (long k = 0; k < count; ++k) values[k] = -INFINITY, ids[k] = 0;
    const auto look_at = [&](long first, long last) {
        for (long j = first; j < last; ++j) {
            if (!(scores[j] > values[count - 1]) || j == without) continue;
            long k = count - 1;
            for (; k > 0 && scores[j] > values[k - 1]; --k)
                values[k] = values[k - 1], ids[k] = ids[k - 1];
            values[k] = scores[j], ids[k] = j;
        }
    };
    constexpr long BLOCK = 4 * VL;
    long j = 0;
    for (; j + BLOCK <= V; j += BLOCK) {
        const vi above = (load(scores + j) > splat(values[count - 1])) |
                         (load(scores + j + VL) > splat(values[count - 1])) |
                         (load(scores + j + 2 * VL) > splat(values[count - 1])) |
                         (load(scores + j + 3 * VL) > splat(values[count - 1]));
        if (any(above)) look_at(j, j + BLOCK);
    }
    look_at(j, V);
}

// the logarithm of the sum of e^score
float log_of_sum(const float *scores, long V) {
    vf largest = lowest();
    long j = 0;
    for (; j + VL <= V; j += VL) largest = v_maximum(load(scores + j), largest);
    float most = lane_max(largest);
    for (; j < V; ++j) most = (scores[j] > most || scores[j] != scores[j]) ? scores[j] : most;
    if (!std::isfinite(most)) return most;
    vf sums[2] = {};
    for (j = 0; j + 2 * VL <= V; j += 2 * VL)
        for (long i = 0; i < 2; ++i) sums[i] += v_exp(load(scores + j + i * VL) - splat(most));
    float rest = 0;
    for (; j < V; ++j) rest += std::exp(scores[j] - most);
    return most + std::log(lane_sum(sums[0] + sums[1]) + rest);
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
    const float *const scores = advance(s, nullptr);
    const Call &last = *s->layers[s->num_layers - 1].call;
    const long V = s->output_size;
    on_threads(last.threads, *last.kernels->crowding, [&](Barrier &, int threads, int me) {
        const Range own = Range{0, s->batch}.part(me, threads);
        for (long r = own.first; r < own.last; ++r) {
            const float *const row = scores + r * V;
            find_largest(row, V, left_out ? mark : -1, count, values + r * count,
                         chosen + r * count);
            const float total = log_probabilities ? log_of_sum(row, V) : 0;
            for (long k = 0; k < count; ++k) values[r * count + k] -= total;
            of_mark[r] = row[mark] - total;
        }
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
