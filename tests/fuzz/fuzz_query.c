/* fuzz_query - the query of a request to a reserved path, and what is answered to it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "operate/gpu_batch.h"
#include "operate/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_pairs(struct ps_str query)
{
    struct ps_query_pair pair;
    size_t pairs = 0;
    while (ps_query_next(&query, &pair) == PS_OK) {
        PS_CHECK(strlen(pair.name) < sizeof pair.name && strlen(pair.value) < sizeof pair.value);
        for (const char *at = pair.value; *at != '\0'; at++) {
            PS_CHECK((unsigned char)*at >= ' ' && *at != 0x7f);
        }
        pairs++;
    }
    PS_CHECK(pairs <= 100000);
}

/* One value, which fits or is refused. */
static void check_value(struct ps_str query)
{
    char value[64];
    if (ps_query_value(query, PS_STR("names"), value, sizeof value) == PS_OK) {
        PS_CHECK(strlen(value) < sizeof value);
    }
}

/* Whatever is asked, the answer is JSON or a reason. */
static void check_answer(struct ps_str query)
{
    static struct ps_gpu_batch *batch;
    struct ps_buf out = ps_buf_make(65536);
    char reason[200] = "";
    if (batch == NULL) {
        PS_CHECK(ps_gpu_batch_new(&batch, NULL) == PS_OK);
        for (size_t i = 1; i < 64; i++) {
            PS_CHECK(ps_gpu_batch_observe(batch, PS_STR("a"), PS_STR("any"), 1, i,
                                          0.01 + 0.001 * (double)i, NAN, 1) == PS_OK);
        }
    }
    int err = ps_gpu_batch_write(batch, query, &out, reason, sizeof reason);
    PS_CHECK(err == PS_OK ? out.len > 2 && out.data[0] == '{' : reason[0] != '\0');
    ps_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size > 0 ? size : 1);
    PS_CHECK(copy != NULL);
    memcpy(copy, data, size);
    check_pairs((struct ps_str){copy, size});
    check_value((struct ps_str){copy, size});
    check_answer((struct ps_str){copy, size});
    free(copy);
    return 0;
}
