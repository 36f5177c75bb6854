/* sheet_style - the style sheet of the page, inside which it stays: light and dark, wide and narrow, paper.
 *
 * Thread: constants only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_SHEET_STYLE_H
#define PS_LOAD_SHEET_STYLE_H

extern const char ps_sheet_style[];

#endif
