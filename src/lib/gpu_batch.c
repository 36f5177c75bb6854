#include "lib/gpu_batch.h"

#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "gpu/batch_book.h"
#include "lib/process.h"

#define SECONDS_MAX 1e6
#define BYTES_MAX   1e18

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

int ps_gpu_batch_check(const struct ps_gpu_batch_seen *seen)
{
    bool fine = seen->size >= 1 && seen->size <= PS_BATCH_MODEL_MOST &&
                is_between(seen->seconds, SECONDS_MAX) && is_between(seen->memory_bytes, BYTES_MAX);
    return fine ? check_names(seen->model, seen->shape)
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

static double or_unknown(double value)
{
    return value > 0 ? value : NAN;
}

struct tale {
    const struct ps_gpu_batch_seen *seen;
    int err;
};

static void tell(struct ps_gpu *gpu, void *ctx)
{
    struct tale *tale = ctx;
    const struct ps_gpu_batch_seen *seen = tale->seen;
    const struct ps_gpu_observation observation = {
        .model = ps_str_from(seen->model),
        .shape = shape_of(seen->shape),
        .size = seen->size,
        .seconds = seen->out_of_memory ? NAN : or_unknown(seen->seconds),
        .bytes = or_unknown(seen->memory_bytes),
        .failed = seen->out_of_memory,
    };
    tale->err = ps_gpu_observe_batch(gpu, &observation);
}

int ps_gpu_batch_tell(struct ps_gpu_engine *engine, const struct ps_gpu_batch_seen *seen)
{
    struct tale tale = {seen, PS_OK};
    ps_gpu_engine_do(engine, tell, &tale);
    return tale.err;
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

struct question {
    const struct ps_gpu_batch_goal *goal;
    double bytes;
    struct ps_gpu_batch_advice *out;
    int err;
};

static void ask(struct ps_gpu *gpu, void *ctx)
{
    struct question *question = ctx;
    const struct ps_gpu_batch_goal *goal = question->goal;
    const struct ps_batch_goal wanted = {.p95 = goal->p95_ms > 0 ? goal->p95_ms / 1e3 : INFINITY,
                                         .turns = goal->one_by_one ? 2 : 1,
                                         .memory = question->bytes,
                                         .most = goal->most};
    struct ps_batch_advice advice;
    size_t next;
    question->err = ps_gpu_ask_batch(gpu, ps_str_from(goal->model), shape_of(goal->shape), &wanted,
                                     &advice, &next);
    if (question->err == PS_OK) {
        fill(&advice, next, question->out);
    }
}

int ps_gpu_batch_best(struct ps_gpu_engine *engine, const struct ps_gpu_batch_goal *goal,
                      double bytes, struct ps_gpu_batch_advice *out)
{
    struct question question = {goal, bytes, out, PS_OK};
    ps_gpu_engine_do(engine, ask, &question);
    return question.err;
}
