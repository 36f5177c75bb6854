/* gpu_opts - the section `gpu` of the configuration: what is asked, and what may be done.
 *
 * Thread: pure functions on the caller's structs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_GPU_OPTS_H
#define PS_OPERATE_GPU_OPTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/option.h"
#include "base/str.h"
#include "operate/gpu_means.h"
#include "operate/hooks.h"
#include "operate/optimizer.h"
#include "operate/scrape.h"
#include "operate/throttle.h"

/* The section `gpu.batch`. */
struct ps_gpu_batch_opts {
    ps_span p95;   /* objective; 0 = none */
    uint64_t most; /* 0 = no bound */
};

struct ps_gpu_opts {
    int mode; /* enum ps_optimizer_mode */
    double target_percent;
    struct ps_option_strings rungs;
    bool trust_unverified;
    bool act_on_busy;
    double margin_percent;
    ps_span idle_after;
    int in_flight; /* enum ps_throttle_mode */
    ps_span hold;
    ps_span cool_down;
    ps_span interval;
    ps_span timeout;
    bool drivers;
    char *nvml_library;
    char *runtime_key;
    struct ps_gpu_batch_opts batch;
    struct ps_option_list sources; /* of struct ps_source_opts */
    struct ps_option_list servers; /* of struct ps_server_means_opts */
    char *cuda_checkpoint;
};

extern const struct ps_option ps_gpu_batch_options[];
extern const struct ps_option ps_gpu_options[];

/* The rung that is called so, or PS_RUNG_COUNT. */
enum ps_rung ps_gpu_rung(struct ps_str name);

/* The names as bits. PS_OK, or PS_EINVAL: *bad is the first that is none (or `wake`, which is not
 * part of a cleanup). */
PS_MUST_CHECK int ps_gpu_rungs(const struct ps_option_strings *names, unsigned *out,
                               const char **bad);

/* What no row can find: names of rungs, URLs, names that are there twice. Each mistake is told with
 * the path of what is wrong ("gpu.sources[0].url"). */
typedef void ps_gpu_mistake_fn(void *ctx, const char *path, const char *sentence);
void ps_gpu_check_opts(const struct ps_gpu_opts *opts, ps_gpu_mistake_fn *on_mistake, void *ctx);

void ps_gpu_optimizer_opts(const struct ps_gpu_opts *opts, struct ps_optimizer_opts *out);
void ps_gpu_scrape_opts(const struct ps_gpu_opts *opts, struct ps_scrape_opts *out);

#endif
