/* The query of GET /api/history, and keys: what is taken for one says the same when it is written. */
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "export/history_query.h"
#include "export/history_result.h"

static void try_key(struct ps_str text)
{
    struct ps_history_key key;
    struct ps_str name;
    struct ps_str value;
    char plain[PS_HISTORY_KEY_MAX];
    if (ps_history_key_parse(text, &key) != PS_OK) {
        return;
    }
    PS_CHECK(key.of < PS_HISTORY_OF_COUNT && key.name.len > 0);
    struct ps_str rest = key.labels;
    size_t seen = 0;
    while (ps_history_key_next(&rest, &name, &value)) {
        PS_CHECK(name.len > 0 && name.ptr > text.ptr && value.ptr + value.len < text.ptr + text.len);
        size_t len = ps_history_key_unescape(value, plain);
        PS_CHECK(len <= value.len);
        seen++;
    }
    PS_CHECK((seen > 0) == (key.labels.len > 0) && rest.len == 0);
}

static void try_query(struct ps_str text)
{
    static struct ps_history_query query;
    struct ps_history_known known = {0};
    struct ps_history_grid grid;
    char reason[400];
    int64_t now = INT64_C(1800000123);
    if (ps_history_query_parse(&query, text, now, reason, sizeof reason) != PS_OK) {
        PS_CHECK(strlen(reason) > 0);
        return;
    }
    PS_CHECK(query.selector_count == 0 || (query.from <= query.to && query.to <= now && query.from >= 0));
    for (int kept = 0; kept < 2 && query.selector_count > 0; kept++) {
        const struct ps_history_reach reach = {now, 300, kept == 1, 172800, 34560000};
        if (ps_history_query_plan(&query, &reach, &grid, reason, sizeof reason) == PS_OK) {
            PS_CHECK(grid.count > 0 && grid.count <= PS_HISTORY_STEPS && grid.step > 0 &&
                     grid.from % grid.step == 0);
        }
    }
    struct ps_str key = PS_STR("p95(x{a=\"\\\"1\\\"\",b=\"2\"})");
    ps_history_query_meet(&query, key, &known);
    PS_IGNORE(ps_history_query_judge(&query, &known, reason, sizeof reason));
    (void)ps_history_query_wants(&query, key);
    for (size_t i = 0; i < query.selector_count; i++) { /* whatever is named exactly is wanted */
        struct ps_str same = ps_str_from(query.selectors[i].text);
        ps_history_query_meet(&query, same, &known);
        PS_CHECK(query.selectors[i].exact);
        PS_CHECK(query.label_count > 0 || query.of != PS_HISTORY_OF_COUNT ||
                 ps_history_query_wants(&query, same));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_str text = {(const char *)data, size};
    if (size > 0 && size < 16384) {
        try_key(text);
        try_query(text);
    }
    return 0;
}
