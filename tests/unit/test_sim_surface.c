/* What clients send to the other engines: paths, workflows, tensors, numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "sim/comfyui_graph.h"
#include "sim/engines.h"
#include "sim/json.h"
#include "sim/route.h"
#include "sim/triton_tensor.h"

static json_t *parse(const char *text)
{
    json_t *tree = NULL;
    struct ps_sim_json_error error;
    if (ps_sim_json_parse(ps_str_from(text), &tree, &error) != PS_OK) {
        fail_msg("%s: %s", text, error.text);
    }
    return tree;
}

static void patterns_fit_whole_paths(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *path;
        bool fits;
    } cases[] = {
        {"/v2", "/v2", true},
        {"/v2", "/v2/", false},
        {"/v2", "/v", false},
        {"/", "/", true},
        {"/v2/models/{}/infer", "/v2/models/m/infer", true},
        {"/v2/models/{}/infer", "/v2/models//infer", false},
        {"/v2/models/{}/infer", "/v2/models/m/infer/x", false},
        {"/v2/models/{}/infer", "/v2/models/m", false},
        {"/{}/{}", "/a/b", true},
        {"/{}/{}", "/a", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ps_str names[PS_SIM_ROUTE_NAMES];
        bool fits =
            ps_sim_route_fits(ps_str_from(cases[i].pattern), ps_str_from(cases[i].path), names);
        if (fits != cases[i].fits) {
            fail_msg("%s and %s", cases[i].pattern, cases[i].path);
        }
    }
    struct ps_str names[PS_SIM_ROUTE_NAMES];
    assert_true(ps_sim_route_fits(PS_STR("/m/{}/v/{}"), PS_STR("/m/a/v/1"), names));
    assert_true(ps_str_eq(names[0], PS_STR("a")) && ps_str_eq(names[1], PS_STR("1")));
}

static void every_name_finds_its_engine(void **state)
{
    (void)state;
    size_t count = 0;
    for (; ps_sim_engine_names[count] != NULL; count++) {
        struct ps_str name = ps_str_from(ps_sim_engine_names[count]);
        const struct ps_sim_personality *personality = ps_sim_engines_find(name);
        assert_non_null(personality);
        assert_true(ps_str_eq(name, ps_str_from(personality->name)));
        assert_true(personality->routes.count > 0 && personality->refusal != NULL);
        assert_non_null(personality->metrics);
    }
    assert_int_equal(count, 10);
    assert_null(ps_sim_engines_find(PS_STR("vll")));
}

static void numbers_keep_their_kind(void **state)
{
    (void)state;
    json_t *tree = parse("[9223372036854775807,-9223372036854775807,18446744073709551615,1.5,-0]");
    assert_int_equal(json_integer_value(json_array_get(tree, 0)), INT64_MAX);
    assert_int_equal(json_integer_value(json_array_get(tree, 1)), -INT64_MAX);
    assert_true(json_is_real(json_array_get(tree, 2)));
    assert_true(json_real_value(json_array_get(tree, 2)) == 0x1p64);
    assert_true(json_is_real(json_array_get(tree, 3)));
    assert_true(json_is_integer(json_array_get(tree, 4)));
    json_decref(tree);
    struct ps_sim_json_error error;
    assert_int_equal(ps_sim_json_parse(PS_STR("[1e999]"), &tree, &error), PS_EPARSE);
}

static void workflow_runs_in_the_order_of_its_links(void **state)
{
    (void)state;
    json_t *workflow = parse(
        "{\"9\":{\"class_type\":\"SaveImage\",\"inputs\":{\"images\":[\"8\",0]}},"
        "\"8\":{\"class_type\":\"VAEDecode\",\"inputs\":{\"samples\":[\"3\",0],\"vae\":[\"4\",2]}},"
        "\"3\":{\"class_type\":\"KSampler\",\"inputs\":{\"seed\":1,\"steps\":7,"
        "\"latent_image\":[\"5\",0],\"model\":[\"4\",0]}},"
        "\"5\":{\"class_type\":\"EmptyLatentImage\",\"inputs\":{\"width\":64,\"height\":32,"
        "\"batch_size\":2}},"
        "\"7\":{\"class_type\":\"LoadImage\",\"inputs\":{}},"
        "\"4\":{\"class_type\":\"CheckpointLoaderSimple\",\"inputs\":{\"ckpt_name\":\"sim\"}}}");
    struct ps_sim_comfyui_graph graph;
    struct ps_sim_opts opts;
    json_t *error = NULL;
    ps_sim_opts_init(&opts);
    assert_int_equal(ps_sim_comfyui_graph_read(&graph, workflow, &opts, &error), PS_OK);
    static const char *const order[] = {"5", "4", "3", "8", "9"}; /* 7 feeds nothing */
    assert_int_equal(graph.count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(graph.order[i].id, order[i]);
    }
    assert_int_equal(graph.sampler, 2);
    assert_int_equal(graph.width, 64);
    assert_int_equal(graph.height, 32);
    assert_int_equal(graph.pictures, 2);
    assert_int_equal(graph.steps, 7);
    ps_sim_comfyui_graph_fini(&graph);
    json_decref(workflow);
}

static void workflow_that_is_a_circle_is_refused(void **state)
{
    (void)state;
    json_t *workflow =
        parse("{\"1\":{\"class_type\":\"SaveImage\",\"inputs\":{\"images\":[\"2\",0]}},"
              "\"2\":{\"class_type\":\"ImageScale\",\"inputs\":{\"image\":[\"2\",0]}}}");
    struct ps_sim_comfyui_graph graph;
    struct ps_sim_opts opts;
    json_t *error = NULL;
    ps_sim_opts_init(&opts);
    assert_int_equal(ps_sim_comfyui_graph_read(&graph, workflow, &opts, &error), PS_EINVAL);
    assert_non_null(json_object_get(json_object_get(error, "node_errors"), "2"));
    json_decref(error);
    json_decref(workflow);
}

static int rows_of(const char *text, uint64_t most, json_t **rows, char *reason, size_t size)
{
    json_t *request = parse(text);
    int err = ps_sim_triton_rows(request, most, rows, reason, size);
    json_decref(request);
    return err;
}

static void rows_are_the_same_in_any_batch(void **state)
{
    (void)state;
    char reason[200];
    json_t *two = NULL;
    json_t *one = NULL;
    assert_int_equal(rows_of("{\"inputs\":[{\"name\":\"a\",\"datatype\":\"FP32\",\"shape\":[2,2],"
                             "\"data\":[[1,2.5],[3,4]]},{\"name\":\"b\",\"datatype\":\"BYTES\","
                             "\"shape\":[2,1],\"data\":[\"x\",\"y\"]}]}",
                             8, &two, reason, sizeof reason),
                     PS_OK);
    assert_int_equal(rows_of("{\"inputs\":[{\"name\":\"a\",\"datatype\":\"FP32\",\"shape\":[1,2],"
                             "\"data\":[3,4]},{\"name\":\"b\",\"datatype\":\"BYTES\","
                             "\"shape\":[1,1],\"data\":[\"y\"]}]}",
                             8, &one, reason, sizeof reason),
                     PS_OK);
    assert_int_equal(json_array_size(two), 2);
    assert_string_equal(json_string_value(json_array_get(two, 0)), "1,2.5,x");
    assert_true(json_equal(json_array_get(two, 1), json_array_get(one, 0)));
    json_decref(two);
    json_decref(one);
}

static void tensors_that_do_not_fit_their_shape_are_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{}",
        "{\"inputs\":[]}",
        "{\"inputs\":[5]}",
        "{\"inputs\":[{\"name\":\"a\",\"datatype\":\"X\",\"shape\":[],\"data\":[]}]}",
        "{\"inputs\":[{\"name\":\"a\",\"datatype\":\"X\",\"shape\":[0],\"data\":[]}]}",
        "{\"inputs\":[{\"name\":\"a\",\"datatype\":\"X\",\"shape\":[-1],\"data\":[]}]}",
        "{\"inputs\":[{\"name\":\"a\",\"datatype\":\"X\",\"shape\":[2],\"data\":[1]}]}",
        "{\"inputs\":[{\"name\":\"a\",\"datatype\":\"X\",\"shape\":[2],\"data\":[1,2,3]}]}",
        "{\"inputs\":[{\"name\":\"a\",\"datatype\":\"X\",\"shape\":[9],\"data\":[1]}]}",
        "{\"inputs\":[{\"name\":\"a\",\"datatype\":\"X\",\"shape\":[1],\"data\":[null]}]}",
        "{\"inputs\":[{\"name\":\"a\",\"datatype\":\"X\",\"shape\":[1],\"data\":[{}]}]}",
        "{\"inputs\":[{\"name\":\"a\",\"datatype\":\"X\",\"shape\":[1,268435456,4],\"data\":[1]}]}",
        "{\"inputs\":[{\"name\":\"a\",\"datatype\":\"X\",\"shape\":[1]}]}",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        char reason[200] = "";
        json_t *rows = NULL;
        if (rows_of(bodies[i], 8, &rows, reason, sizeof reason) != PS_EINVAL) {
            fail_msg("%s", bodies[i]);
        }
        assert_true(reason[0] != '\0');
        assert_null(rows);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_fit_whole_paths),
        cmocka_unit_test(every_name_finds_its_engine),
        cmocka_unit_test(numbers_keep_their_kind),
        cmocka_unit_test(workflow_runs_in_the_order_of_its_links),
        cmocka_unit_test(workflow_that_is_a_circle_is_refused),
        cmocka_unit_test(rows_are_the_same_in_any_batch),
        cmocka_unit_test(tensors_that_do_not_fit_their_shape_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
