/* board_manual - prints the names of docs/dashboard.md from the table that computes them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>

#include "export/board.h"

int main(void)
{
    struct ps_buf out = ps_buf_make(1024 * 1024);
    int err = ps_board_manual(&out);
    if (err == PS_OK) {
        fwrite(out.data, 1, out.len, stdout);
    }
    ps_buf_fini(&out);
    return err == PS_OK ? 0 : 1;
}
