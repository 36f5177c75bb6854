/* environment - the machine that a test ran on: what has to be equal for figures to be comparable.
 *
 * Thread: pure; reads files of /proc.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_ENVIRONMENT_H
#define PS_LOAD_ENVIRONMENT_H

#include <jansson.h>

/* {"penstock","cpu","cores","memory_bytes","kernel","architecture"}: cores are those that this process may
 * use. Neither names of hosts nor of users. NULL when out of memory. */
json_t *ps_environment_json(void);

#endif
