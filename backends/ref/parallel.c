/* parallel.c - the threads of one device: a static cut of the work, and sleep in between.
 *
 * Which thread computes an item is a function of the item's index and the number of threads; how it is computed is not
 * a function of either.  Idle threads sleep on a condition variable: the device may share its cores with others. */
#include <pthread.h>
#include <stdlib.h>

#include "backends/ref/ref.h"

/* Below this many multiplications (some 50 us of one core) waking threads costs more than it gains. */
#define MIN_PARALLEL_COST 100000u

struct worker {
    struct ref_pool *pool;
    pthread_t thread;
    uint32_t index; /* its share; 0 is the caller's */
};

struct ref_pool {
    pthread_mutex_t lock; /* over everything below but workers and n_threads */
    pthread_cond_t wake, done;
    struct ref_work work;
    uint64_t n_items;
    uint64_t round; /* counts runs; a worker that saw the last one sleeps */
    uint32_t n_running;
    bool stopping;
    uint32_t n_threads;
    struct worker workers[]; /* [n_threads - 1] */
};

static void
run_share(const struct ref_pool *pool, struct ref_work work, uint64_t n_items, uint32_t index)
{
    const uint64_t share = n_items / pool->n_threads;
    const uint64_t rest = n_items % pool->n_threads; /* the first `rest` shares have one more */
    const uint64_t begin = index * share + (index < rest ? index : rest);
    const uint64_t end = begin + share + (index < rest ? 1 : 0);
    if (begin < end) {
        work.run(work.context, begin, end, index);
    }
}

static void *
worker_main(void *argument)
{
    const struct worker *worker = argument;
    struct ref_pool *pool = worker->pool;
    uint64_t seen = 0;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->stopping && pool->round == seen) {
            pthread_cond_wait(&pool->wake, &pool->lock);
        }
        if (pool->stopping) {
            break;
        }
        seen = pool->round;
        const struct ref_work work = pool->work;
        const uint64_t n_items = pool->n_items;
        pthread_mutex_unlock(&pool->lock);
        run_share(pool, work, n_items, worker->index);
        pthread_mutex_lock(&pool->lock);
        if (--pool->n_running == 0) {
            pthread_cond_signal(&pool->done);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void
stop_workers(struct ref_pool *pool, uint32_t n_started)
{
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < n_started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
}

int
ref_pool_new(uint32_t n_threads, struct ref_pool **ret_pool, struct hearth_error *err)
{
    int status;
    uint32_t n_started = 0;
    struct ref_pool *pool = calloc(1, sizeof *pool + (size_t)(n_threads - 1) * sizeof pool->workers[0]);
    if (pool == NULL) {
        return host_error(err, HEARTH_EMEMORY, 0, "ref: no memory for %u threads", n_threads);
    }
    pool->n_threads = n_threads;
    int code = pthread_mutex_init(&pool->lock, NULL);
    if (code != 0) {
        status = host_error(err, HEARTH_EMEMORY, code, "ref: pthread_mutex_init: error %d", code);
        goto fail_lock;
    }
    code = pthread_cond_init(&pool->wake, NULL);
    if (code != 0) {
        status = host_error(err, HEARTH_EMEMORY, code, "ref: pthread_cond_init: error %d", code);
        goto fail_wake;
    }
    code = pthread_cond_init(&pool->done, NULL);
    if (code != 0) {
        status = host_error(err, HEARTH_EMEMORY, code, "ref: pthread_cond_init: error %d", code);
        goto fail_done;
    }
    for (; n_started < n_threads - 1; n_started++) {
        struct worker *worker = &pool->workers[n_started];
        *worker = (struct worker){.pool = pool, .index = n_started + 1};
        code = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (code != 0) {
            status = host_error(err, HEARTH_EMEMORY, code, "ref: thread %u of %u could not be made (error %d)",
                                n_started + 2, n_threads, code);
            goto fail_workers;
        }
    }
    *ret_pool = pool;
    return 0;

fail_workers:
    stop_workers(pool, n_started);
    pthread_cond_destroy(&pool->done);
fail_done:
    pthread_cond_destroy(&pool->wake);
fail_wake:
    pthread_mutex_destroy(&pool->lock);
fail_lock:
    free(pool);
    return status;
}

void
ref_pool_free(struct ref_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    stop_workers(pool, pool->n_threads - 1);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

uint32_t
ref_pool_threads(const struct ref_pool *pool)
{
    return pool->n_threads;
}

void
ref_pool_run(struct ref_pool *pool, uint64_t n_items, uint64_t cost, struct ref_work work)
{
    if (n_items == 0) { /* then what the work points at may be missing */
        return;
    }
    const bool small = n_items < 2 || cost < MIN_PARALLEL_COST / n_items;
    if (pool->n_threads == 1 || small) {
        work.run(work.context, 0, n_items, 0);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->work = work;
    pool->n_items = n_items;
    pool->n_running = pool->n_threads - 1;
    pool->round++;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);

    run_share(pool, work, n_items, 0);

    pthread_mutex_lock(&pool->lock);
    while (pool->n_running > 0) {
        pthread_cond_wait(&pool->done, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
}
