// A team of threads, how they meet, and what becomes of them where the cores are taken.
//
// Threads that meet wait for the last of them. Where another program runs on its core, that takes a
// turn of the scheduler, milliseconds, at every meeting. So a team that takes longer than one thread
// would goes on as one for a while, whose members take turns: each does what it would do on a thread
// of its own, so the numbers are the same bits.
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <sched.h>
#include <unistd.h>
#if defined(__GLIBC__) && !defined(NO_TURNS)
#include <ucontext.h>
#define TURNS
#endif

// of the OpenMP library that torch has loaded: declared here, because not every compiler brings
// omp.h, and called by name, because what Clang makes of a pragma only LLVM's own library has
extern "C" {
void GOMP_parallel(void (*function)(void *), void *data, unsigned threads, unsigned flags);
int omp_get_num_threads(void);
int omp_get_thread_num(void);
}

namespace {

// Members of a team on one thread: each runs until it meets the others, then the next one does.
class Turns {
    const long count;
    void (*const run)(const void *, int);
    const void *const member;
    long now = 0;
#if defined(TURNS)
    static constexpr long STACK = 1 << 18;
    ucontext_t outside;
    ucontext_t *places = nullptr;  // where each goes on

    static void enter(unsigned high, unsigned low) {
        Turns &self = *(Turns *)((uintptr_t)high << 32 | low);
        self.run(self.member, (int)self.now);
        self.now += 1;  // who has met for the last time ends, and so does the next one
    }
#endif

  public:
    template <typename F>
    Turns(long count, const F &member)
        : count(count), run([](const void *f, int me) { (*(const F *)f)(me); }), member(&member) {}

    // run member(0), member(1), ...; false where there is no room for their stacks
    bool take() {
#if defined(TURNS)
        char *const stacks = (char *)std::malloc(count * STACK);
        places = (ucontext_t *)std::malloc(count * sizeof(ucontext_t));
        if (stacks && places) {
            const uint64_t self = (uint64_t)this;
            for (long i = 0; i < count; ++i) {
                getcontext(&places[i]);
                places[i].uc_stack.ss_sp = stacks + i * STACK;
                places[i].uc_stack.ss_size = STACK;
                places[i].uc_link = i + 1 < count ? &places[i + 1] : &outside;
                makecontext(&places[i], (void (*)())enter, 2, (unsigned)(self >> 32), (unsigned)self);
            }
            swapcontext(&outside, &places[0]);
        }
        const bool taken = stacks && places;
        std::free(stacks);
        std::free(places);
        return taken;
#else
        return false;
#endif
    }

    // let the others come to the same place
    void meet() {
#if defined(TURNS)
        ucontext_t &mine = places[now];
        now = (now + 1) % count;
        swapcontext(&mine, &places[now]);
#endif
    }
};

inline long nanoseconds(clockid_t clock) {
    timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

// A clock that takes no call, in ticks of its own.
inline long ticks() {
#if defined(__x86_64__) || defined(__i386__)
    return (long)__builtin_ia32_rdtsc();
#else
    return nanoseconds(CLOCK_MONOTONIC);
#endif
}

// A moment by both clocks.
struct Moment {
    long ns = nanoseconds(CLOCK_MONOTONIC), ticks = ::ticks();

    // as nanoseconds, what took so many ticks between this moment and another
    long ns_of(long taken, const Moment &later) const {
        const long between = later.ticks - ticks;
        return between > 0 ? (long)((double)taken / between * (later.ns - ns)) : 0;
    }
};

// Where the members of a team meet: what they share of it.
struct Meeting {
    std::atomic<int> waiting{0}, round{0};
    std::atomic<long> work{0};  // ns that they ran and did not wait, all of them together
    Turns *turns = nullptr;     // where the members are on one thread
    const Moment start;
};

// A member's own side of it.
class Barrier {
    static constexpr int PATIENCE = 20000;  // looks, 0.2 ms or more
    Meeting &meeting;
    long ran, waited = 0;  // ns before the start, ticks

  public:
    explicit Barrier(Meeting &meeting)
        : meeting(meeting), ran(meeting.turns ? 0 : nanoseconds(CLOCK_THREAD_CPUTIME_ID)) {}

    void wait(int threads) {
        if (threads == 1) return;
        if (meeting.turns) return meeting.turns->meet();
        const int mine = meeting.round.load(std::memory_order_relaxed);
        if (meeting.waiting.fetch_add(1, std::memory_order_acq_rel) == threads - 1) {
            meeting.waiting.store(0, std::memory_order_relaxed);
            meeting.round.store(mine + 1, std::memory_order_release);
            return;
        }
        const long since = ticks();
        for (int looks = 0; meeting.round.load(std::memory_order_acquire) == mine; ++looks) {
            if (looks > PATIENCE + 2000) usleep(50);
            else if (looks > PATIENCE) sched_yield();
#if defined(__x86_64__) || defined(__i386__)
            else __builtin_ia32_pause();
#endif
        }
        waited += ticks() - since;
    }

    // after the last meeting
    void leave() {
        if (meeting.turns) return;
        const long own = nanoseconds(CLOCK_THREAD_CPUTIME_ID) - ran;
        const long work = own - meeting.start.ns_of(waited, Moment());
        if (work > 0) meeting.work.fetch_add(work, std::memory_order_relaxed);
    }
};

// Whether the cores are fewer than they seem, as teams have found; of the whole process.
class Crowding {
    static constexpr long LITTLE = 20000, MOST = 2000000000;  // ns
    static constexpr long TIMES = 8, MOST_TIMES = 32;
    std::atomic<long> until{0}, pause{0};

    static long now() { return nanoseconds(CLOCK_MONOTONIC); }

  public:
    bool lasts() const { return left() > 0; }
    // ns until teams try again
    long left() const {
        const long end = until.load(std::memory_order_relaxed);
        return end ? end - now() : 0;
    }
    // A team took so long for what one thread does in `work`. Where one is faster, teams try again
    // after a pause of some times what was lost: trying costs a part of it, and so does a pause that
    // is longer than the crowd stays. It becomes longer each time in a row.
    void met(long taken, long work) {
        const long before = pause.load(std::memory_order_relaxed);
        const long lost = taken - work - work / 16;
        if (lost <= LITTLE && !before) return;
        const auto lesser = [](long a, long b) { return a < b ? a : b; };
        const long longer = lesser(MOST_TIMES * lost, TIMES * lost > 2 * before ? TIMES * lost : 2 * before);
        const long next = lost <= LITTLE ? 0 : lesser(longer, MOST);
        pause.store(next, std::memory_order_relaxed);
        until.store(next ? now() + next : 0, std::memory_order_relaxed);
    }
};

// body(barrier, threads, me) for each of a team; `Crowds` is Crowding, or what a test puts for it
template <typename F, typename Crowds> static void on_threads(long threads, Crowds &crowding, F body) {
    struct Team {
        F &body;
        Meeting meeting;

        void member(int threads, int me) {
            Barrier barrier(meeting);
            body(barrier, threads, me);
            barrier.wait(threads);  // which sees who is late; the one of OpenMP does not
            barrier.leave();
        }
        static void enter(void *team) {
            ((Team *)team)->member(omp_get_num_threads(), omp_get_thread_num());
        }
    } team = {body};
    if (threads > 1 && crowding.lasts()) {
        const auto member = [&](int me) { team.member((int)threads, me); };
        Turns turns(threads, member);
        team.meeting.turns = &turns;
        if (turns.take()) return;
        team.meeting.turns = nullptr;
    }
    GOMP_parallel(Team::enter, &team, (unsigned)threads, 0);
    if (threads > 1)
        crowding.met(nanoseconds(CLOCK_MONOTONIC) - team.meeting.start.ns,
                     team.meeting.work.load(std::memory_order_relaxed));
}

}  // namespace
