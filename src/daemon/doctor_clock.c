/* The clocks: is the time plausible, does somebody keep it right, is reading it cheap, and do the
 * servers have the same. */
#include <stdio.h>
#include <string.h>
#include <sys/timex.h>

#include "daemon/doctor_check.h"
#include "daemon/doctor_file.h"
#include "daemon/doctor_text.h"

enum { TOLERANCE = 5 /* seconds: a Date has no fractions, and an answer takes its time */ };

#define DAY  ((int64_t)24 * 3600)
#define YEAR (366 * DAY)

void ps_doctor_judge_clock(struct ps_doctor_report *report,
                           const struct ps_doctor_clock_figures *figures)
{
    if (figures->now < figures->built - DAY || figures->now > figures->built + 30 * YEAR) {
        ps_doctor_say(report, PS_DOCTOR_ERROR, "CLOCK_REALTIME",
                      "this machine's clock is wrong: it shows a time %s",
                      figures->now < figures->built ? "before this program was built"
                                                    : "30 years after this program was built");
        ps_doctor_fix(report,
                      "set the clock (timedatectl set-ntp true): certificates are judged by it");
    } else {
        ps_doctor_say(report, PS_DOCTOR_OK, "CLOCK_REALTIME", "shows a plausible time");
    }
    if (figures->is_kernel_told && !figures->is_synchronised) {
        ps_doctor_say(report, PS_DOCTOR_INFO, "adjtimex",
                      "no time service keeps this clock right, as far as the kernel knows");
        ps_doctor_fix(
            report, "timedatectl set-ntp true, or chrony; in a virtual machine its host may do it");
    } else if (figures->is_kernel_told) {
        ps_doctor_say(report, PS_DOCTOR_OK, "adjtimex", "a time service keeps this clock right");
    }
    bool slow = strcmp(figures->source, "hpet") == 0 || strcmp(figures->source, "acpi_pm") == 0 ||
                strcmp(figures->source, "jiffies") == 0;
    if (slow) {
        ps_doctor_say(report, PS_DOCTOR_WARNING, "clocksource",
                      "%s: every look at the clock is a slow system call", figures->source);
        ps_doctor_fix(report, "see why the kernel gave tsc up (dmesg | grep -i tsc); in a virtual "
                              "machine use kvm-clock");
    } else if (figures->source[0] != '\0') {
        ps_doctor_say(report, PS_DOCTOR_OK, "clocksource", "%s", figures->source);
    }
}

void ps_doctor_judge_date(struct ps_doctor_report *report, const char *subject, const char *date,
                          ps_time wall)
{
    int64_t theirs;
    if (ps_doctor_read_date(ps_str_from(date), &theirs) != PS_OK) {
        return; /* many servers send none */
    }
    int64_t ours = wall / PS_SECOND;
    int64_t apart = theirs > ours ? theirs - ours : ours - theirs;
    if (apart > TOLERANCE) {
        ps_doctor_say(report, PS_DOCTOR_WARNING, subject,
                      "its clock is %jd seconds %s this machine's", (intmax_t)apart,
                      theirs > ours ? "ahead of" : "behind");
        ps_doctor_fix(report,
                      "have both set by a time service (timedatectl set-ntp true, or chrony)");
    } else {
        ps_doctor_say(report, PS_DOCTOR_OK, subject, "its clock agrees with this machine's");
    }
}

static void read_source(char *out, size_t size)
{
    char text[64];
    struct ps_str source = ps_doctor_file(
        "/sys/devices/system/clocksource/clocksource0/current_clocksource", text, sizeof text);
    source = ps_str_first(source, ps_str_find(source, '\n'));
    snprintf(out, size, "%.*s", PS_STR_ARG(source));
}

void ps_doctor_clocks(struct ps_doctor *doctor)
{
    struct timex state = {.modes = 0};
    struct ps_doctor_clock_figures figures = {.now = ps_clock_wall(&ps_clock_real) / PS_SECOND};
    int told = adjtimex(&state); /* reads: no mode is set */
    figures.is_kernel_told = told >= 0;
    figures.is_synchronised = told >= 0 && told != TIME_ERROR && (state.status & STA_UNSYNC) == 0;
    if (ps_doctor_read_build_date(PS_STR(__DATE__), &figures.built) != PS_OK) {
        figures.built = figures.now;
    }
    read_source(figures.source, sizeof figures.source);
    ps_doctor_judge_clock(&doctor->report, &figures);
    for (size_t i = 0; i < doctor->probe_count; i++) {
        const struct ps_doctor_probe *probe = &doctor->probes[i];
        if (probe->opts != NULL && probe->date[0] != '\0') {
            ps_doctor_judge_date(&doctor->report, probe->url, probe->date, probe->wall);
        }
    }
}
