/* page_none - a build without the live page (-Dpage=disabled, or no npm).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "daemon/page.h"

const struct ps_page ps_page_embedded = {0};
