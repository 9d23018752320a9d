// What C++ and Python both know: the structs that pass between them, and sizes of blocks. This is the
// one description of it. abi.py reads it, so a struct has one declaration a member, of numbers,
// pointers and arrays of these, and a constant is a number or a shift of one.
//
// Letters: T steps, B sequences of the batch, V tokens of the vocabulary, K columns, N rows, O output.

#include <cstddef>
#include <cstdint>

constexpr long PANEL = 64;           // rows are rounded up to this many, whatever the target's panels
constexpr long BLOCK_ROWS = 192;     // operands of a block stay in L2 while all panels pass
constexpr long LARGE_SUM = 2 << 20;  // numbers of a sum that does not stay in the L2
constexpr long MAX_DEPTH = 1024;     // rows that are packed at once, at most
constexpr long TILE = 32;            // what the depth of products of bfloat16 is rounded up to

// ---- a loop --------------------------------------------------------------------------------------

struct Array {  // a value at every step
    float *data;
    long step, row;  // in numbers; 0 where it does not change
    long local;      // holds the steps of one chunk only
    long gathered;   // data is a table, whose rows the token ids choose
};
struct Matrix {
    const float *data;
    long row_stride, column_stride;
    void *packed;  // null where nobody wants what is computed with it
};
struct Carried {
    float *data;  // [T + 1, B, size], or [2, B, size] when only the last value is wanted
    long whole;   // which of the two
};
struct Call {
    long steps, batch, first, direction;  // t runs from first by direction
    long chunk;                           // steps between which everything meets
    const long *sizes;                    // the values of the cell's size names
    const Array *arrays;                  // what nobody wants has no data
    const Matrix *matrices;
    const float *const *biases;
    const Carried *carried;
    float *const *sums;  // results of the whole run; null where nobody wants one
    float *scratch;
    float *space;  // for packing, `space_size` numbers that the threads share
    long space_size;
    const int64_t *ids;      // [T, B], or null
    const int64_t *lengths;  // [B], or null
    const int64_t *live;     // [T], how many sequences take each step, the first of them; or null
    long threads;
    long by_panel;  // split products by panel instead of sequences by thread
    long packed_already;
    long *spent;  // see Meter
    const struct Kernels *kernels;
};

// What a thread's time goes to; see Meter.
enum Part { PACKING, BEFORE, PRODUCTS, ELEMENTWISE, WAITING, AFTER, NUM_PARTS };

// ---- steps ---------------------------------------------------------------------------------------

// A piece of memory, of which every look sees one share: each `stride`-th of its lines. After as
// many looks as there are shares, all of it was seen.
struct Watched {
    const unsigned char *data;
    long size;          // bytes
    long stride;        // how many shares there are
    long next;          // the share to be looked at next
    uint64_t *digests;  // of each share, as it was
    uint64_t whole;     // of all of it
};

struct Watch {
    Watched *pieces;
    long num_pieces;
};

// One input of the first layer, looked up by token id.
struct Lookup {
    long input;          // which of the first layer's arrays
    const float *table;  // [V, width]
    float *rows;         // [B, width] to gather into; null for one sequence, which reads the table
    long width;
};

struct Layer {
    void (*run)(const Call *);
    Call *call;              // of one step, which goes from slot 0 to slot 1 of `carried`, or back
    long x;                  // which of its arrays is the layer's input; -1 for none, or looked up
    float *step_index;       // where it reads the index of the step; null where it does not
    const float *output[2];  // [B, O], after a step forth and after a step back
    long affine;             // K where it is W x + b, of its first matrix and first two arrays; else 0
};

struct Steps {
    const Layer *layers;
    const Lookup *lookups;
    long num_layers, num_lookups, batch;
    long vocabulary;   // tokens that can be looked up
    long output_size;  // of the last layer
    long index;        // of the next step
    long slot;         // 0 or 1: where the states lie now
    Watch *watch;      // of the weights that were packed; null to take them as they were
    long fresh;        // whether they were packed just now: then a step goes on without a look
};

// How tokens are drawn; see decoding/sampler.py, which defines it.
struct TokenWriter {
    Steps *steps;         // of one sequence; its output is the scores [V]
    float temperature;    // 0 takes the highest score
    long top_k;           // V for all
    double top_p;         // 1 or more for all
    float *weights;       // [V]
    int32_t *candidates;  // [V]
    const int64_t *forbidden;  // tokens that are never drawn
    long num_forbidden;
    float *scores;  // [V], for the scores without those
};

// ---- the check -----------------------------------------------------------------------------------

// What Python has to know of a library's structs and constants; the last has no name.
struct Fact {
    const char *name;
    long value;
};
#define FACT(what) {#what, (long)(what)}
