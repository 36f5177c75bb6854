/* window - see window.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/window.h"

void ps_window_record(struct ps_window *window, int64_t value)
{
    ps_hist_record(&window->young, value);
}

void ps_window_add(struct ps_window *window, const struct ps_hist *values)
{
    ps_hist_merge(&window->young, values);
}

const struct ps_hist *ps_window_look(struct ps_window *window, ps_time now, ps_span turn)
{
    if (now - window->turned >= turn) {
        window->old = window->young;
        ps_hist_clear(&window->young);
        window->turned = now;
    }
    window->both = window->old;
    ps_hist_merge(&window->both, &window->young);
    return &window->both;
}
