/* report_junit - a report as JUnit XML, which CI servers show: a suite for each test, a case for its verdict
 * and for each of its thresholds.
 *
 * A threshold that was not kept is a failure; a test that has no answer (generator limited, aborted, target
 * unreachable) is an error. Figures are properties, named as in the JSON.
 *
 * Format: the schema of Jenkins' xUnit plugin (junit-10.xsd), which GitLab, GitHub actions and others read.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_REPORT_JUNIT_H
#define PS_LOAD_REPORT_JUNIT_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

/* Appends the document. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_report_write_junit(const json_t *document, struct ps_buf *out);

#endif
