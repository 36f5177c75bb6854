/* doctor_report - what the doctor found, collected and shown.
 *
 *      ps_doctor_say(report, PS_DOCTOR_ERROR, "127.0.0.1:5000", "taken by %s (pid %d)", ...);
 *      ps_doctor_fix(report, "stop it, or choose another address in `listen`");
 *
 * Everything passes here on its way out, so this is where no terminal is played with (control
 * characters become '?') and no secret passes: texts that the configuration keeps secret are
 * replaced by ***, wherever they came from; a server might send back the key it was sent.
 *
 * The number of findings is bounded; behind it only the counters grow.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_DOCTOR_REPORT_H
#define PS_DAEMON_DOCTOR_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

#define PS_DOCTOR_FINDINGS 512
#define PS_DOCTOR_SECRETS  256

enum ps_doctor_severity {
    PS_DOCTOR_OK,
    PS_DOCTOR_INFO,
    PS_DOCTOR_WARNING,
    PS_DOCTOR_ERROR,
    PS_DOCTOR_SEVERITIES
};

/* "ok", "info", "warning", "error". */
extern const char *const ps_doctor_severity_names[];

struct ps_doctor_finding {
    const char *check; /* static */
    enum ps_doctor_severity severity;
    char *subject; /* "127.0.0.1:5000", "penstock.yaml:3:5 listen"; "" = none */
    char *text;
    char *fix; /* "" = nothing is to be done */
};

/* A zero-initialised report is empty and ready. */
struct ps_doctor_report {
    const char *check; /* whose findings come now; static */
    struct ps_doctor_finding *items;
    size_t count;
    size_t counts[PS_DOCTOR_SEVERITIES]; /* all of them, also those that found no room */
    bool kept;                           /* the last finding found room */
    char *secrets[PS_DOCTOR_SECRETS];
    size_t secret_count;
};

void ps_doctor_report_fini(struct ps_doctor_report *report);

/* From now on this text is never shown. A copy is kept; one of fewer than 6 bytes would blot out
 * ordinary words and is left alone. */
void ps_doctor_hide(struct ps_doctor_report *report, const char *secret);

/* Adds a finding of report->check. Out of memory it is only counted. */
void ps_doctor_say(struct ps_doctor_report *report, enum ps_doctor_severity severity,
                   const char *subject, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* What is to be done about the last finding. */
void ps_doctor_fix(struct ps_doctor_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The worst that was found; PS_DOCTOR_OK when nothing was. */
enum ps_doctor_severity ps_doctor_worst(const struct ps_doctor_report *report);

/* Appends the list for people. What is ok is one line for each check, unless `verbose`. PS_OK,
 * PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_doctor_print(const struct ps_doctor_report *report, bool verbose, bool colour,
                                  struct ps_buf *out);

/* Appends {"version","healthy","worst","findings":[...]} and a line end. Likewise. */
PS_MUST_CHECK int ps_doctor_print_json(const struct ps_doctor_report *report, struct ps_buf *out);

#endif
