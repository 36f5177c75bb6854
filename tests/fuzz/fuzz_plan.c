/* fuzz_plan - any bytes as a trace file and as the events of an answer.
 *
 * Whatever a file holds: times never go backwards, lengths stay in their bounds, the plan ends, and a
 * mistake has words.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "load/answer.h"
#include "load/plan.h"

#define MOST 2000 /* requests of one plan: rates may make a great many */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(struct ps_plan *plan)
{
    struct ps_plan_entry entry;
    struct ps_plan_error error = {""};
    ps_span last = 0;
    int err = PS_OK;
    for (int i = 0; i < MOST && err == PS_OK; i++) {
        err = ps_plan_next(plan, &entry, &error);
        if (err == PS_OK) {
            PS_CHECK(entry.at >= last && entry.prompt_tokens >= 1);
            PS_CHECK(entry.prompt_tokens <= PS_TRACE_TOKENS_MAX);
            PS_CHECK(entry.max_tokens <= PS_TRACE_TOKENS_MAX);
            PS_CHECK(entry.block_count <= PS_TRACE_BLOCKS_MAX);
            last = entry.at;
        }
    }
    PS_CHECK(err == PS_OK || err == PS_ENOTFOUND || error.text[0] != '\0');
}

static void play(const uint8_t *data, size_t size, double key_rate)
{
    char path[32];
    int fd = memfd_create("plan", MFD_CLOEXEC);
    PS_CHECK(fd >= 0);
    PS_CHECK(write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct ps_plan *plan = NULL;
    struct ps_plan_opts opts = {.path = path, .seed = 1, .key_rate = key_rate};
    struct ps_plan_error error = {""};
    if (ps_plan_open(&plan, &opts, &error) == PS_OK) {
        walk(plan);
        ps_plan_close(plan);
    } else {
        PS_CHECK(error.text[0] != '\0');
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t xz[] = {0xfd, '7', 'z', 'X', 'Z'};
    struct ps_str text = {(const char *)data, size};
    char message[64];
    uint64_t prompt = 0;
    uint64_t completion = 0;
    (void)ps_answer_has_text(text);
    (void)ps_answer_is_done(text);
    (void)ps_answer_usage(text, &prompt, &completion);
    (void)ps_answer_is_error(text, message, sizeof message);
    if (size >= sizeof xz && memcmp(data, xz, sizeof xz) == 0) {
        return -1; /* would start a process for each input */
    }
    play(data, size, 0);
    play(data, size < 400 ? size : 400, 10);
    return 0;
}
