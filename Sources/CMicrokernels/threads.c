// A step of a network takes some tens of microseconds, and to wake a sleeping thread takes about as long. So a thread
// that has run out of work first looks out for more, and sleeps only if none comes.
//
// Every thread has pieces of its own, neighbours, and takes them in order; what it has read and written lately is in its
// cache. When they are gone it helps the others, so that nobody waits for a thread whose core is busy elsewhere.
// Who works on a piece makes no difference to the numbers.
#define _POSIX_C_SOURCE 200809L // clock_gettime

#include "wb_threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

// How long a thread looks out for work, in nanoseconds: longer than the gaps between steps.
enum { PATIENCE = 100 * 1000 };

// The pieces of one thread that nobody has taken yet: the next one, and above 32 bits the end.
typedef struct { _Alignas(64) _Atomic uint64_t range; } wb_pieces;

struct wb_threads {
    int count, started;
    bool spin;
    // The job. It is published by the stores to `own`, and stays until all of its pieces are done.
    wb_work work;
    void *context;
    wb_pieces *own;
    pthread_t *threads;

    _Alignas(64) _Atomic int left;        // pieces that are not done
    _Alignas(64) _Atomic unsigned jobs;   // counts up with each job, and at the end
    _Atomic int sleepers;                 // threads that wait for the next job without looking out
    _Atomic bool ends, caller_sleeps;
    pthread_mutex_t lock;
    pthread_cond_t next, done;
};

typedef struct { wb_threads *pool; int index; } wb_thread;

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void breathe(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Looks out until `condition` holds, as long as patience lasts.
#define LOOK_OUT(pool, condition) \
    if ((pool)->spin && !(condition)) \
        for (const int64_t end = now() + PATIENCE; !(condition) && now() < end;) \
            for (int i = 0; i < 32 && !(condition); i++) breathe()

// Takes pieces and works on them until none is left.
static void work(wb_threads *pool, int thread)
{
    for (int i = 0; i < pool->count; i++) {
        const int owner = (thread + i) % pool->count;
        _Atomic uint64_t *range = &pool->own[owner].range;
        int done = 0;
        for (;;) {
            uint64_t r = atomic_load_explicit(range, memory_order_relaxed);
            if ((uint32_t)r >= r >> 32) break;
            r = atomic_fetch_add_explicit(range, 1, memory_order_acquire);
            if ((uint32_t)r >= r >> 32) break;
            pool->work(pool->context, (int)(uint32_t)r, thread);
            done++;
        }
        // The last one wakes the caller. Past this, the job may be another.
        if (done && atomic_fetch_sub(&pool->left, done) == done && atomic_load(&pool->caller_sleeps)) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

static void *live(void *argument)
{
    const wb_thread self = *(wb_thread *)argument;
    free(argument);
    wb_threads *pool = self.pool;
    for (;;) {
        const unsigned seen = atomic_load(&pool->jobs);
        if (atomic_load(&pool->ends)) return NULL;
        work(pool, self.index);
        LOOK_OUT(pool, atomic_load_explicit(&pool->jobs, memory_order_relaxed) != seen);
        if (atomic_load(&pool->jobs) != seen) continue;
        pthread_mutex_lock(&pool->lock);
        atomic_fetch_add(&pool->sleepers, 1);
        while (atomic_load(&pool->jobs) == seen) pthread_cond_wait(&pool->next, &pool->lock);
        atomic_fetch_sub(&pool->sleepers, 1);
        pthread_mutex_unlock(&pool->lock);
    }
}

wb_threads *wb_threads_make(int count, bool spin)
{
    wb_threads *pool = aligned_alloc(64, (sizeof *pool + 63) & ~(size_t)63);
    wb_pieces *own = aligned_alloc(64, (size_t)count * sizeof *own);
    pthread_t *threads = malloc((size_t)count * sizeof *threads);
    if (!pool || !own || !threads) {
        free(pool), free(own), free(threads);
        return NULL;
    }
    *pool = (wb_threads){.count = count, .spin = spin, .own = own, .threads = threads};
    for (int i = 0; i < count; i++) atomic_init(&own[i].range, 0);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->next, NULL);
    pthread_cond_init(&pool->done, NULL);
    return pool;
}

// Threads start with the first job. Those that the system refuses are not missed: the others do their pieces.
static void start(wb_threads *pool)
{
    for (int i = 1; i < pool->count; i++) {
        wb_thread *self = malloc(sizeof *self);
        if (!self) return;
        *self = (wb_thread){pool, i};
        if (pthread_create(&pool->threads[pool->started], NULL, live, self) != 0) {
            free(self);
            return;
        }
        pool->started++;
    }
}

void wb_threads_run(wb_threads *pool, int pieces, wb_work job, void *context)
{
    if (pieces <= 0) return;
    if (pool->started == 0) start(pool);
    pool->work = job;
    pool->context = context;
    atomic_store(&pool->left, pieces);
    for (int64_t i = 0; i < pool->count; i++) {
        const uint64_t first = (uint64_t)(pieces * i / pool->count), end = (uint64_t)(pieces * (i + 1) / pool->count);
        atomic_store_explicit(&pool->own[i].range, end << 32 | first, memory_order_release);
    }
    atomic_fetch_add(&pool->jobs, 1);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->next);
        pthread_mutex_unlock(&pool->lock);
    }
    work(pool, 0);
    LOOK_OUT(pool, atomic_load_explicit(&pool->left, memory_order_relaxed) == 0);
    if (atomic_load(&pool->left) == 0) return;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->caller_sleeps, true);
    while (atomic_load(&pool->left) != 0) pthread_cond_wait(&pool->done, &pool->lock);
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->lock);
}

void wb_threads_free(wb_threads *pool)
{
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->ends, true);
    atomic_fetch_add(&pool->jobs, 1);
    pthread_cond_broadcast(&pool->next);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->started; i++) pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->next);
    pthread_mutex_destroy(&pool->lock);
    free(pool->own);
    free(pool->threads);
    free(pool);
}
