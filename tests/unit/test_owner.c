/* test_owner - what /proc says of a process, and where it says which container.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gpu/owner.h"

#define ID   "4f5c0ad1b1c24e31a3a8a6b0c0d3a0e94f5c0ad1b1c24e31a3a8a6b0c0d3a0e9"
#define REST " S 1 1 1 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 9 0 4711 1000 200\n"

static struct ps_str text_of(const char *text)
{
    return ps_str_from(text);
}

static void reads_name_and_start(void **state)
{
    (void)state;
    struct ps_owner owner = {0};
    assert_int_equal(ps_owner_parse_stat(text_of("17 (python3)" REST), &owner), PS_OK);
    assert_string_equal(owner.name, "python3");
    assert_int_equal(owner.started, 4711);
    assert_int_equal(owner.parent, 1);
    assert_int_equal(ps_owner_parse_stat(text_of("17 (a) S (b)" REST), &owner), PS_OK);
    assert_string_equal(owner.name, "a) S (b");
}

static void refuses_lines_that_are_none(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "17",
        "17 (python3",
        ") (",
        "17 (python3) S 1 2 3\n",
        "17 (python3) S 1 1 1 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 9 0 later 1000\n",
        ("17 (a-name-that-is-far-too-long-for-a-task-of-linux-and-then-some-more)" REST),
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct ps_owner owner = {.name = "untouched"};
        assert_int_equal(ps_owner_parse_stat(text_of(lines[i]), &owner), PS_EPARSE);
        assert_string_equal(owner.name, "untouched");
    }
}

static void finds_the_containers_of_all_who_make_them(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "0::/system.slice/docker-" ID ".scope\n",
        "12:cpuset:/docker/" ID "\n11:memory:/docker/" ID "\n",
        "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0123.slice/"
        "cri-containerd-" ID ".scope\n",
        "0::/kubepods.slice/kubepods-pod0123.slice/crio-" ID ".scope/container\n",
        "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID ".scope\n",
        "0::/kubepods/besteffort/pod0123/" ID,
        "1:name=systemd:/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:" ID
        "\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char id[PS_OWNER_CONTAINER];
        assert_true(ps_owner_parse_cgroup(text_of(lines[i]), id));
        assert_string_equal(id, ID);
    }
}

static void finds_none_where_there_is_none(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "0::/\n",
        "0::/system.slice/ollama.service\n",
        "0::/docker/" ID "0\n",
        "0::/docker/x" ID "\n",
        "0::/docker/4f5c0ad1b1c2\n",
        "0::/docker/" ID "z\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char id[PS_OWNER_CONTAINER] = "x";
        assert_false(ps_owner_parse_cgroup(text_of(lines[i]), id));
        assert_string_equal(id, "");
    }
}

static void finds_the_group_that_a_service_is(void **state)
{
    (void)state;
    static const struct {
        const char *text, *group;
    } rows[] = {
        {"0::/system.slice/ollama.service\n", "/system.slice/ollama.service"},
        {"12:cpuset:/\n1:name=systemd:/system.slice/a.service/sub\n", "/system.slice/a.service"},
        {"0::/user.slice/user-7.slice/user@7.service/app.slice/vllm.service\n",
         "/user.slice/user-7.slice/user@7.service/app.slice/vllm.service"},
        {"0::/system.slice/docker-" ID ".scope\n", ID},
        {"0::/user.slice/user-7.slice/user@7.service/init.scope\n", ""},
        {"0::/user.slice/user-7.slice/session-2.scope\n", ""},
        {"0::/\n", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char group[PS_OWNER_GROUP];
        assert_int_equal(ps_owner_parse_group(text_of(rows[i].text), group),
                         rows[i].group[0] != '\0');
        assert_string_equal(group, rows[i].group);
    }
}

static void says_that_a_process_is_not_there(void **state)
{
    (void)state;
    struct ps_owner owner;
    assert_int_equal(ps_owner_read("/nowhere", 17, &owner), PS_ENOTFOUND);
    assert_int_equal(ps_owner_read("", UINT32_MAX, &owner), PS_ENOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_name_and_start),
        cmocka_unit_test(refuses_lines_that_are_none),
        cmocka_unit_test(finds_the_containers_of_all_who_make_them),
        cmocka_unit_test(finds_none_where_there_is_none),
        cmocka_unit_test(finds_the_group_that_a_service_is),
        cmocka_unit_test(says_that_a_process_is_not_there),
    };
    return cmocka_run_group_tests_name("owner", tests, NULL, NULL);
}
