/* pool.c - the threads of one device.  Items are taken from a counter in pieces, so a core that is late takes fewer;
 * the fewer are left the smaller is a piece, so that all end together.  Each NUMA node has a counter of its own, for
 * the items whose rows lie in its memory; a thread that finds its node's at the end goes on with the next node's.
 *
 * A run costs one store that the workers see and one counter that the caller sees.  A worker without work looks for it
 * for some 200 us, longer than the gaps within a layer, and then sleeps; so does the caller for the last worker. The
 * fields that threads fight over lie on lines of their own. */
#include <config.h>

#include <immintrin.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "backends/cpu/cpu.h"

/* Below this cost (some 5 us of one core) waking threads costs more than it gains. */
#define MIN_PARALLEL_COST 60000u
/* A piece is so much less than a thread's share of what is left. */
#define PIECES_PER_SHARE 2u
/* A piece costs no less, if there are so many: about a microsecond, for which the counter's line is one thread's. */
#define MIN_PIECE_COST 10000u
/* And no more: some 300 us of one core, which others would wait for at the end. */
#define MAX_PIECE_COST 4000000u
#define SPIN_NS 200000

struct worker {
    struct cpu_pool *pool;
    pthread_t thread;
    uint32_t index; /* 0 is the caller */
    uint32_t node;
};

/* Items of one node: next .. end-1 are not taken. */
struct queue {
    alignas(64) _Atomic uint64_t next;
    uint64_t end;
};

struct cpu_pool {
    struct cpu_work work; /* written before round, read after it */
    uint64_t least_piece, most_piece;
    const struct cpu_split *split;
    uint32_t n_threads;
    uint32_t shares; /* of a node's items that are left, one is a piece */
    bool stopping;
    alignas(64) _Atomic uint64_t round; /* counts runs */
    alignas(64) _Atomic uint32_t n_running;
    alignas(64) pthread_mutex_t lock; /* for those who sleep */
    pthread_cond_t wake, done;
    _Atomic uint32_t n_sleeping;
    _Atomic bool caller_sleeps;
    struct worker *workers; /* [n_threads - 1] */
    struct queue *queues;   /* [split->n_nodes] */
};

static int64_t
now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* By what seemed to be left: another thread may take some of it meanwhile. */
static uint64_t
next_piece(const struct cpu_pool *pool, uint64_t n_left)
{
    const uint64_t piece = n_left / pool->shares;
    return piece < pool->least_piece ? pool->least_piece : piece > pool->most_piece ? pool->most_piece : piece;
}

static void
empty_queue(const struct cpu_pool *pool, struct queue *queue, uint32_t thread)
{
    for (;;) {
        const uint64_t next = atomic_load_explicit(&queue->next, memory_order_relaxed);
        if (next >= queue->end) {
            return;
        }
        const uint64_t piece = next_piece(pool, queue->end - next);
        const uint64_t begin = atomic_fetch_add_explicit(&queue->next, piece, memory_order_relaxed);
        if (begin >= queue->end) {
            return;
        }
        const uint64_t end = queue->end - begin < piece ? queue->end : begin + piece;
        pool->work.run(pool->work.context, begin, end, thread);
    }
}

static void
take_items(struct cpu_pool *pool, uint32_t thread, uint32_t node)
{
    const uint32_t n_nodes = pool->split->n_nodes;
    for (uint32_t i = 0; i < n_nodes; i++) {
        empty_queue(pool, &pool->queues[(node + i) % n_nodes], thread);
    }
}

/* Until the round is no longer `seen`.  Looks, and then sleeps. */
static uint64_t
wait_round(struct cpu_pool *pool, uint64_t seen)
{
    const int64_t until = now_ns() + SPIN_NS;
    uint64_t round = seen;
    do {
        for (int i = 0; i < 64; i++) {
            round = atomic_load_explicit(&pool->round, memory_order_acquire);
            if (round != seen) {
                return round;
            }
            _mm_pause();
        }
    } while (now_ns() < until);
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->n_sleeping, 1);
    while ((round = atomic_load(&pool->round)) == seen) {
        pthread_cond_wait(&pool->wake, &pool->lock);
    }
    atomic_fetch_sub(&pool->n_sleeping, 1);
    pthread_mutex_unlock(&pool->lock);
    return round;
}

static void
start_round(struct cpu_pool *pool)
{
    atomic_fetch_add(&pool->round, 1);
    if (atomic_load(&pool->n_sleeping) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
}

/* Until every worker has left the round. */
static void
wait_workers(struct cpu_pool *pool)
{
    const int64_t until = now_ns() + SPIN_NS;
    do {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(&pool->n_running, memory_order_acquire) == 0) {
                return;
            }
            _mm_pause();
        }
    } while (now_ns() < until);
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->caller_sleeps, true);
    while (atomic_load(&pool->n_running) > 0) {
        pthread_cond_wait(&pool->done, &pool->lock);
    }
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->lock);
}

static void *
worker_main(void *argument)
{
    const struct worker *worker = argument;
    struct cpu_pool *pool = worker->pool;
    uint64_t seen = 0;
    for (;;) {
        seen = wait_round(pool, seen);
        if (pool->stopping) {
            return NULL;
        }
        take_items(pool, worker->index, worker->node);
        if (atomic_fetch_sub(&pool->n_running, 1) == 1 && atomic_load(&pool->caller_sleeps)) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

/* As many items as cost so much together, but no fewer than `least`. */
static uint64_t
items_within(uint64_t together, uint64_t cost, uint64_t least)
{
    const uint64_t n = together / (cost + 1); /* a cost of 0 is one, too */
    return n < least ? least : n;
}

void
cpu_pool_run(struct cpu_pool *pool, uint64_t n_items, uint64_t least, uint64_t cost, struct cpu_work work)
{
    const bool is_small = n_items <= least || n_items < 2 || cost < MIN_PARALLEL_COST / n_items;
    if (n_items == 0) {
        return;
    }
    if (pool->n_threads == 1 || is_small) {
        work.run(work.context, 0, n_items, 0);
        return;
    }
    pool->work = work;
    pool->least_piece = items_within(MIN_PIECE_COST, cost, least);
    pool->most_piece = items_within(MAX_PIECE_COST, cost, pool->least_piece);
    for (uint32_t node = 0; node < pool->split->n_nodes; node++) {
        pool->queues[node].end = cpu_split_begin(pool->split, n_items, node + 1);
        atomic_store_explicit(&pool->queues[node].next, cpu_split_begin(pool->split, n_items, node),
                              memory_order_relaxed);
    }
    atomic_store_explicit(&pool->n_running, pool->n_threads - 1, memory_order_relaxed);
    start_round(pool);
    take_items(pool, 0, 0);
    wait_workers(pool);
}

static void
stop_workers(struct cpu_pool *pool, uint32_t n_started)
{
    pool->stopping = true;
    start_round(pool);
    for (uint32_t i = 0; i < n_started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
}

/* The caller's own thread is the program's and stays where the system puts it. */
static uint32_t
pin_workers(struct cpu_pool *pool, const struct cpu_places *places)
{
    uint32_t n_unpinned = 0;
    for (uint32_t i = 0; i < pool->n_threads - 1; i++) {
        n_unpinned += !cpu_places_pin(places, pool->workers[i].thread, i + 1);
    }
    return n_unpinned;
}

static uint32_t
node_of_thread(const struct cpu_split *split, uint32_t thread)
{
    uint32_t node = 0;
    while (thread >= split->first[node + 1]) {
        node++;
    }
    return node;
}

static int
init_sync(struct cpu_pool *pool, struct hearth_error *err)
{
    int code = pthread_mutex_init(&pool->lock, NULL);
    if (code != 0) {
        goto fail_lock;
    }
    code = pthread_cond_init(&pool->wake, NULL);
    if (code != 0) {
        goto fail_wake;
    }
    code = pthread_cond_init(&pool->done, NULL);
    if (code != 0) {
        goto fail_done;
    }
    return 0;

fail_done:
    pthread_cond_destroy(&pool->wake);
fail_wake:
    pthread_mutex_destroy(&pool->lock);
fail_lock:
    return host_error(err, HEARTH_EMEMORY, code, "cpu: no memory for locks (error %d)", code);
}

static void
done_sync(struct cpu_pool *pool)
{
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
}

/* One queue a node; nothing in them yet. */
static struct queue *
new_queues(uint32_t n_nodes)
{
    struct queue *queues = aligned_alloc(alignof(struct queue), n_nodes * sizeof *queues);
    for (uint32_t i = 0; queues != NULL && i < n_nodes; i++) {
        queues[i] = (struct queue){.end = 0};
    }
    return queues;
}

int
cpu_pool_new(const struct cpu_places *places, bool pin, struct cpu_pool **ret_pool, uint32_t *ret_n_unpinned,
             struct hearth_error *err)
{
    const uint32_t n_threads = cpu_places_threads(places);
    uint32_t n_started = 0;
    struct cpu_pool *pool = aligned_alloc(alignof(struct cpu_pool), sizeof *pool);
    if (pool == NULL) {
        return host_error(err, HEARTH_EMEMORY, 0, "cpu: no memory for %u threads", n_threads);
    }
    *pool = (struct cpu_pool){.n_threads = n_threads, .split = cpu_places_split(places)};
    pool->shares = PIECES_PER_SHARE * ((n_threads + pool->split->n_nodes - 1) / pool->split->n_nodes);
    int status = init_sync(pool, err);
    if (status < 0) {
        goto fail_sync;
    }
    pool->workers = calloc(n_threads, sizeof *pool->workers);
    pool->queues = new_queues(pool->split->n_nodes);
    if (pool->workers == NULL || pool->queues == NULL) {
        status = host_error(err, HEARTH_EMEMORY, 0, "cpu: no memory for %u threads", n_threads);
        goto fail_workers;
    }
    for (; n_started < n_threads - 1; n_started++) {
        struct worker *worker = &pool->workers[n_started];
        *worker = (struct worker){
            .pool = pool, .index = n_started + 1, .node = node_of_thread(pool->split, n_started + 1)};
        const int code = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (code != 0) {
            status = host_error(err, HEARTH_EMEMORY, code, "cpu: thread %u of %u could not be made (error %d)",
                                n_started + 2, n_threads, code);
            goto fail_threads;
        }
    }
    *ret_n_unpinned = pin ? pin_workers(pool, places) : 0;
    *ret_pool = pool;
    return 0;

fail_threads:
    stop_workers(pool, n_started);
fail_workers:
    free(pool->queues);
    free(pool->workers);
    done_sync(pool);
fail_sync:
    free(pool);
    return status;
}

void
cpu_pool_free(struct cpu_pool *pool)
{
    if (pool != NULL) {
        stop_workers(pool, pool->n_threads - 1);
        free(pool->queues);
        free(pool->workers);
        done_sync(pool);
        free(pool);
    }
}

uint32_t
cpu_pool_threads(const struct cpu_pool *pool)
{
    return pool->n_threads;
}
