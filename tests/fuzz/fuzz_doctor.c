/* fuzz_doctor - what the doctor reads of the kernel's files and of other machines' answers.
 *
 * Whatever is accepted must lie in its bounds and inside the text.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "daemon/doctor_check.h"
#include "daemon/doctor_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_sockets(struct ps_str text)
{
    struct ps_doctor_socket socket;
    char shown[PS_ADDRESS_TEXT];
    struct ps_address again;
    while (ps_doctor_next_socket(&text, &socket)) {
        PS_CHECK(ps_address_parse(ps_str_from(ps_address_text(&socket.at, shown)), &again) ==
                 PS_OK);
        PS_CHECK(ps_doctor_collides(&socket.at, &socket.at));
    }
}

static void read_figures(struct ps_str text)
{
    uint64_t a;
    uint64_t b;
    int64_t seconds;
    double cores;
    if (ps_doctor_read_quota(text, &cores) == PS_OK) {
        PS_CHECK(isfinite(cores) && cores >= 0);
    }
    if (ps_doctor_read_date(text, &seconds) == PS_OK) {
        PS_CHECK(seconds > INT64_C(-63000000000) &&
                 seconds < INT64_C(254000000000)); /* years 0 to 9999 */
    }
    struct ps_str group = ps_doctor_cgroup(text);
    PS_CHECK(group.len == 0 ||
             (group.ptr > text.ptr && group.ptr + group.len <= text.ptr + text.len));
    PS_IGNORE(ps_doctor_read_build_date(text, &seconds));
    PS_IGNORE(ps_doctor_read_descriptors(text, &a, &b));
    PS_IGNORE(ps_doctor_read_meminfo(text, PS_STR("MemTotal"), &a));
    PS_IGNORE(ps_doctor_read_max(text, &a));
    PS_IGNORE(ps_doctor_read_pair(text, &a, &b));
    PS_IGNORE(ps_doctor_read_number(text, &a));
    PS_IGNORE(ps_doctor_read_major(text, &a));
}

static void read_models(struct ps_str text)
{
    struct ps_doctor_models models;
    ps_doctor_read_models(text, &models);
    for (size_t i = 0; i < models.count; i++) {
        PS_CHECK(ps_doctor_has_model(&models, models.names[i]));
    }
    free(models.names);
}

/* Whatever comes in, what is shown has no control character and not the secret. */
static void show(struct ps_str text)
{
    struct ps_doctor_report report = {.check = "fuzz"};
    char *copy = ps_str_dup(text);
    PS_CHECK(copy != NULL);
    ps_doctor_hide(&report, "secret-key");
    ps_doctor_say(&report, PS_DOCTOR_INFO, copy, "%s", copy);
    for (const char *c = report.items[0].text; *c != '\0'; c++) {
        PS_CHECK((unsigned char)*c >= 0x20 && *c != 0x7f);
    }
    PS_CHECK(strstr(report.items[0].subject, "secret-key") == NULL);
    ps_doctor_report_fini(&report);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size > 0 ? size : 1);
    PS_CHECK(copy != NULL);
    memcpy(copy, data, size);
    struct ps_str text = {copy, size};
    read_sockets(text);
    read_figures(text);
    read_models(text);
    show(text);
    free(copy);
    return 0;
}
