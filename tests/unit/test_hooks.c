/* test_hooks - what is asked of servers, and what their answers mean.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "operate/hooks.h"

static const struct ps_hook *hook(enum ps_adapter_id adapter, enum ps_rung rung)
{
    const struct ps_hook *row = ps_hook_find(adapter, rung);
    assert_non_null(row);
    return row;
}

static void expect(const struct ps_hook *row, const char *model, const char *path, const char *body)
{
    struct ps_buf where = ps_buf_make(512);
    struct ps_buf what = ps_buf_make(512);
    assert_int_equal(ps_hook_write(row, ps_str_from(model), &where, &what), PS_OK);
    assert_true(ps_str_eq(ps_buf_str(&where), ps_str_from(path)));
    assert_true(ps_str_eq(ps_buf_str(&what), ps_str_from(body)));
    ps_buf_fini(&where);
    ps_buf_fini(&what);
}

static void calls_are_written_as_each_server_wants_them(void **state)
{
    (void)state;
    expect(hook(PS_ADAPTER_VLLM, PS_RUNG_SLEEP), "", "/sleep?level=1", "");
    expect(hook(PS_ADAPTER_OLLAMA, PS_RUNG_UNLOAD), "llama:latest", "/api/generate",
           "{\"model\":\"llama:latest\",\"keep_alive\":0}");
    expect(hook(PS_ADAPTER_COMFYUI, PS_RUNG_UNLOAD), "", "/free",
           "{\"unload_models\":true,\"free_memory\":true}");
    expect(hook(PS_ADAPTER_LMCACHE, PS_RUNG_HOST_CACHE), "i1", "/clear",
           "{\"instance_id\":\"i1\",\"location\":\"LocalCPUBackend\"}");
}

/* A model's name comes from a server: it stays one name, whatever it holds. */
static void names_do_not_break_out(void **state)
{
    (void)state;
    expect(hook(PS_ADAPTER_TRITON, PS_RUNG_UNLOAD), "a/../b?c d",
           "/v2/repository/models/a%2F..%2Fb%3Fc%20d/unload", "");
    expect(hook(PS_ADAPTER_OLLAMA, PS_RUNG_UNLOAD), "a\",\"keep_alive\":9,\"x\":\"",
           "/api/generate",
           "{\"model\":\"a\\\",\\\"keep_alive\\\":9,\\\"x\\\":\\\"\",\"keep_alive\":0}");
}

/* RFC 4231 2 (key "Jefe"), and the empty body that memory_status signs. */
static void signatures_are_hmac_sha256_in_hex(void **state)
{
    (void)state;
    char text[PS_HOOK_SIGNATURE];
    ps_hook_sign(PS_STR("Jefe"), PS_STR("what do ya want for nothing?"), text);
    assert_string_equal(text,
                        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    ps_hook_sign(PS_STR("secret"), PS_STR(""), text);
    assert_string_equal(text,
                        "sha256=f9e66e179b6747ae54108f82f8ade8b3c25d76fd30afde6c395822c530196169");
}

static void success_is_read_not_believed(void **state)
{
    (void)state;
    const struct ps_hook *reset = hook(PS_ADAPTER_VLLM, PS_RUNG_PREFIX_CACHE);
    assert_int_equal(ps_hook_judge(reset, 200, PS_STR("")), PS_HOOK_DONE);
    assert_int_equal(ps_hook_judge(reset, 200, PS_STR("{\"success\": true}")), PS_HOOK_DONE);
    assert_int_equal(ps_hook_judge(reset, 200, PS_STR("{\"success\": false}")), PS_HOOK_BUSY);
    assert_int_equal(ps_hook_judge(reset, 404, PS_STR("")), PS_HOOK_MISSING);
    assert_int_equal(ps_hook_judge(hook(PS_ADAPTER_SGLANG, PS_RUNG_PREFIX_CACHE), 400, PS_STR("")),
                     PS_HOOK_BUSY);
    assert_int_equal(ps_hook_judge(hook(PS_ADAPTER_TRTLLM, PS_RUNG_SLEEP), 409, PS_STR("")),
                     PS_HOOK_BUSY);
    assert_int_equal(ps_hook_judge(hook(PS_ADAPTER_TRTLLM, PS_RUNG_SLEEP), 401, PS_STR("")),
                     PS_HOOK_DENIED);
    assert_int_equal(ps_hook_judge(hook(PS_ADAPTER_TRITON, PS_RUNG_UNLOAD), 503, PS_STR("")),
                     PS_HOOK_MISSING);
    assert_int_equal(ps_hook_judge(hook(PS_ADAPTER_OLLAMA, PS_RUNG_UNLOAD), 500, PS_STR("")),
                     PS_HOOK_FAILED);
}

static void caches_promise_blocks_and_never_bytes(void **state)
{
    (void)state;
    static struct ps_vitals vitals;
    for (size_t i = 0; i < PS_VITALS_FIELDS; i++) {
        vitals.readings[i] = ps_device_known(1e9);
    }
    for (size_t i = 0; i < ps_hook_count; i++) {
        const struct ps_hook *row = &ps_hooks[i];
        bool device = row->frees == PS_HOOK_DEVICE_BYTES;
        bool known = ps_hook_expected(row, &vitals, "", ps_device_known(1e9)).known;
        assert_true(device || !known);
        assert_true(row->rung != PS_RUNG_PREFIX_CACHE || row->frees == PS_HOOK_KV_BLOCKS);
        assert_non_null(row->cost);
        assert_true(row->expects == PS_HOOK_EXPECTS_NONE ||
                    row->expects == PS_HOOK_EXPECTS_UNKNOWN || row->share > 0);
    }
}

static void ten_servers_can_be_asked_for_something(void **state)
{
    (void)state;
    size_t count = 0;
    for (int adapter = 0; adapter < PS_ADAPTER_COUNT; adapter++) {
        bool any = false;
        for (int rung = 0; rung < PS_RUNG_COUNT; rung++) {
            any = any || ps_hook_find((enum ps_adapter_id)adapter, (enum ps_rung)rung) != NULL;
        }
        count += any ? 1 : 0;
    }
    assert_true(count >= 10);
}

static void a_server_shows_what_it_did(void **state)
{
    (void)state;
    static struct ps_vitals before, after;
    bool known;
    const struct ps_hook *unload = hook(PS_ADAPTER_OLLAMA, PS_RUNG_UNLOAD);
    before.model_count = after.model_count = 1;
    strcpy(after.models[0].name, "m");
    after.models[0].loaded = true;
    assert_false(ps_hook_shown(unload, &before, &after, "m", &known));
    assert_true(known);
    after.models[0].loaded = false;
    assert_true(ps_hook_shown(unload, &before, &after, "m", &known));
    const struct ps_hook *sleep = hook(PS_ADAPTER_VLLM, PS_RUNG_SLEEP);
    assert_false(ps_hook_shown(sleep, &before, &after, "", &known));
    assert_false(known);
    after.state = PS_VITALS_EMPTY;
    assert_true(ps_hook_shown(sleep, &before, &after, "", &known));
    const struct ps_hook *release = hook(PS_ADAPTER_SGLANG, PS_RUNG_SLEEP);
    assert_false(ps_hook_shown(release, &before, &after, "", &known));
    assert_false(known); /* it has no state to show */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_written_as_each_server_wants_them),
        cmocka_unit_test(names_do_not_break_out),
        cmocka_unit_test(signatures_are_hmac_sha256_in_hex),
        cmocka_unit_test(success_is_read_not_believed),
        cmocka_unit_test(caches_promise_blocks_and_never_bytes),
        cmocka_unit_test(ten_servers_can_be_asked_for_something),
        cmocka_unit_test(a_server_shows_what_it_did),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
