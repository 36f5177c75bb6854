#include "lib/gpu_batch.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "gpu/batch_book.h"
#include "lib/process.h"

#define SECONDS_MAX 1e6
#define BYTES_MAX   1e18

struct ps_gpu_batches {
    pthread_mutex_t lock; /* of the book; held for microseconds */
    struct ps_batch_book book;
};

struct ps_gpu_batches *ps_gpu_batches_new(void)
{
    struct ps_gpu_batches *batches = calloc(1, sizeof *batches);
    if (batches != NULL) {
        pthread_mutex_init(&batches->lock, NULL);
        ps_batch_book_init(&batches->book);
    }
    return batches;
}

void ps_gpu_batches_free(struct ps_gpu_batches *batches)
{
    if (batches != NULL) {
        ps_batch_book_fini(&batches->book);
        pthread_mutex_destroy(&batches->lock);
        free(batches);
    }
}

/* --- checks ----------------------------------------------------------------------------------- */

/* The book would cut and replace; names that become the same must not be taken for each other. */
static bool is_name(const char *text, size_t size)
{
    size_t len = 0;
    for (; text[len] >= ' ' && text[len] <= '~'; len++) {
    }
    return text[len] == '\0' && len > 0 && len < size;
}

static int check_names(const char *model, const char *shape)
{
    if (model == NULL || !is_name(model, PS_BATCH_BOOK_NAME)) {
        return ps_process_fail(PS_EINVAL, "a model's name is 1 to %d printable ASCII characters",
                               PS_BATCH_BOOK_NAME - 1);
    }
    if (shape != NULL && !is_name(shape, PS_BATCH_BOOK_SHAPE)) {
        return ps_process_fail(PS_EINVAL, "a shape's name is 1 to %d printable ASCII characters",
                               PS_BATCH_BOOK_SHAPE - 1);
    }
    return PS_OK;
}

static bool is_between(double value, double most)
{
    return value >= 0 && value <= most; /* and a number */
}

int ps_gpu_batch_check(const struct ps_gpu_batch *batch)
{
    bool fine = batch->size >= 1 && batch->size <= PS_BATCH_MODEL_MOST &&
                is_between(batch->seconds, SECONDS_MAX) &&
                is_between(batch->memory_bytes, BYTES_MAX);
    return fine ? check_names(batch->model, batch->shape)
                : ps_process_fail(PS_EINVAL,
                                  "a batch has 1 to %d rows, and numbers that are not negative",
                                  PS_BATCH_MODEL_MOST);
}

int ps_gpu_batch_check_goal(const struct ps_gpu_batch_goal *goal)
{
    bool fine = is_between(goal->p95_ms, SECONDS_MAX * 1e3) &&
                is_between(goal->free_bytes, BYTES_MAX) && goal->most <= PS_BATCH_MODEL_MOST;
    return fine ? check_names(goal->model, goal->shape)
                : ps_process_fail(PS_EINVAL,
                                  "a goal has numbers that are not negative, and at most %d rows",
                                  PS_BATCH_MODEL_MOST);
}

/* --- learning --------------------------------------------------------------------------------- */

static struct ps_str shape_of(const char *shape)
{
    return shape == NULL ? ps_batch_shape_any : ps_str_from(shape);
}

static void learn(struct ps_batch_model *model, ps_time now, const struct ps_gpu_batch *batch)
{
    if (batch->out_of_memory) {
        ps_memory_model_fail(&model->memory, batch->size, batch->memory_bytes);
    } else if (batch->memory_bytes > 0) {
        ps_memory_model_learn(&model->memory, batch->size, batch->memory_bytes);
    }
    if (batch->seconds > 0 && !batch->out_of_memory) {
        ps_batch_model_learn(model, now, batch->size, batch->seconds, 1);
    }
}

int ps_gpu_batches_learn(struct ps_gpu_batches *batches, const struct ps_gpu_batch *batch)
{
    ps_time now = ps_clock_now(&ps_clock_real);
    pthread_mutex_lock(&batches->lock);
    struct ps_batch_entry *entry =
        ps_batch_book_at(&batches->book, ps_str_from(batch->model), shape_of(batch->shape), now);
    if (entry != NULL) {
        learn(&entry->batch, now, batch);
    }
    pthread_mutex_unlock(&batches->lock);
    return entry == NULL ? PS_ENOMEM : PS_OK;
}

/* --- advice ----------------------------------------------------------------------------------- */

static void fill(const struct ps_batch_advice *advice, size_t next, struct ps_gpu_batch_advice *out)
{
    bool known = advice->size > 0;
    *out = (struct ps_gpu_batch_advice){
        .size = advice->size,
        .expected_p95_ms = known ? advice->p95 * 1e3 : NAN,
        .expected_memory_bytes = known ? advice->memory : NAN,
        .rows_per_second = known ? advice->rate : NAN,
        .samples = known ? advice->samples : NAN,
        .next = next,
    };
    snprintf(out->limited_by, sizeof out->limited_by, "%s", ps_batch_limit_names[advice->limit]);
}

int ps_gpu_batches_advise(struct ps_gpu_batches *batches, const struct ps_gpu_batch_goal *goal,
                          double bytes, struct ps_gpu_batch_advice *out)
{
    const struct ps_batch_goal wanted = {.p95 = goal->p95_ms > 0 ? goal->p95_ms / 1e3 : INFINITY,
                                         .turns = goal->one_by_one ? 2 : 1,
                                         .memory = bytes,
                                         .most = goal->most};
    pthread_mutex_lock(&batches->lock);
    struct ps_batch_entry *entry =
        ps_batch_book_find(&batches->book, ps_str_from(goal->model), shape_of(goal->shape));
    if (entry != NULL) {
        struct ps_batch_advice advice = ps_batch_model_advise(&entry->batch, &wanted);
        fill(&advice, ps_batch_model_next(&entry->batch, &wanted), out);
    }
    pthread_mutex_unlock(&batches->lock);
    return entry == NULL ? PS_ENOTFOUND : PS_OK;
}
