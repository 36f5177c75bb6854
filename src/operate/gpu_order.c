/* gpu_order - POST /api/gpu/cleanup: what somebody orders, read strictly.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "operate/gpu.h"
#include "operate/gpu_json_private.h"
#include "operate/gpu_opts.h"
#include "operate/gpu_room.h"
#include "operate/json.h"

static int refuse(char *reason, size_t size, const char *text)
{
    snprintf(reason, size, "%s", text);
    return PS_EINVAL;
}

/* A level stands for its rung and all cheaper ones; `wake` for itself. */
static int read_level(const json_t *value, struct ps_optimizer_order *order, char *reason,
                      size_t size)
{
    enum ps_rung rung =
        json_is_string(value) ? ps_gpu_rung(ps_str_from(json_string_value(value))) : PS_RUNG_COUNT;
    if (rung == PS_RUNG_COUNT) {
        return refuse(reason, size,
                      "\"level\" is one of prefix_cache, host_cache, kv_limit, unload, sleep, "
                      "deep_sleep, checkpoint, restart and wake");
    }
    order->level = ps_rung_names[rung];
    order->rungs = rung == PS_RUNG_WAKE ? 1u << rung : (2u << rung) - 1;
    return PS_OK;
}

static int read_order(json_t *root, struct ps_optimizer_order *order, char *reason, size_t size)
{
    const char *name;
    json_t *value;
    int err = PS_OK;
    json_object_foreach(root, name, value)
    {
        if (strcmp(name, "level") == 0) {
            err = read_level(value, order, reason, size);
        } else if (strcmp(name, "dry_run") == 0 && json_is_boolean(value)) {
            order->dry_run = json_is_true(value);
        } else if (strcmp(name, "target_percent") == 0 && json_is_number(value) &&
                   json_number_value(value) >= 1 && json_number_value(value) <= 100) {
            order->target_percent = json_number_value(value);
        } else {
            err = refuse(reason, size,
                         "it has \"level\", \"dry_run\" (true or false) and \"target_percent\" "
                         "(1 to 100), or \"mode\" alone");
        }
        if (err != PS_OK) {
            return err;
        }
    }
    return PS_OK;
}

static int set_mode(struct ps_gpu *gpu, json_t *root, struct ps_buf *out, char *reason, size_t size)
{
    const char *name = json_string_value(json_object_get(root, "mode"));
    int mode = 0;
    while (name != NULL && ps_optimizer_mode_names[mode] != NULL &&
           strcmp(ps_optimizer_mode_names[mode], name) != 0) {
        mode++;
    }
    if (name == NULL || ps_optimizer_mode_names[mode] == NULL || json_object_size(root) != 1) {
        return refuse(reason, size, "\"mode\" stands alone and is off, advise or auto");
    }
    ps_optimizer_set_mode(gpu->optimizer, (enum ps_optimizer_mode)mode, ps_loop_now(gpu->loop));
    json_t *answer = json_pack("{ss}", "mode", name);
    int err = ps_gpu_json_dump(answer, out);
    json_decref(answer);
    return err;
}

static int begin(struct ps_gpu *gpu, json_t *root, const char *who, struct ps_buf *out, bool *done,
                 char *reason, size_t size)
{
    struct ps_optimizer_order order = {.who = who};
    uint64_t number;
    ps_time now = ps_loop_now(gpu->loop);
    int err = read_order(root, &order, reason, size);
    if (err != PS_OK) {
        return err;
    }
    err = ps_optimizer_order(gpu->optimizer, &order, now, &number);
    if (err != PS_OK) {
        snprintf(reason, size, "%s",
                 err == PS_EBUSY ? "a cleanup is under way"
                                 : "the optimizer is switched off (gpu.mode)");
        return err;
    }
    PS_IGNORE(ps_timer_set(gpu->loop, &gpu->timer, ps_optimizer_step(gpu->optimizer, now)));
    ps_gpu_record(gpu);
    const struct ps_optimizer_run *run = ps_optimizer_find(gpu->optimizer, number);
    *done = run->outcome != PS_OPTIMIZER_RUNNING;
    return ps_gpu_write_cleanup(gpu, run, out);
}

int ps_gpu_cleanup(struct ps_gpu *gpu, struct ps_str json, const char *who, struct ps_buf *out,
                   bool *done, char *reason, size_t size)
{
    json_t *root = ps_json_read(json, 0, reason, size);
    *done = true;
    if (root == NULL) {
        return PS_EINVAL;
    }
    int err = PS_OK;
    if (!json_is_object(root)) {
        err = refuse(reason, size, "the body is not a JSON object");
    } else if (json_object_get(root, "mode") != NULL) {
        err = set_mode(gpu, root, out, reason, size);
    } else {
        err = begin(gpu, root, who, out, done, reason, size);
    }
    json_decref(root);
    return err;
}
