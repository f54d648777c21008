/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * real_touch.h -- one load, or one store, for each 4 KiB page
 *
 * @order: page numbers; NULL: 0, 1, 2...
 */
#ifndef REAL_TOUCH_H
#define REAL_TOUCH_H

#include <stddef.h>
#include <stdint.h>

#include "daxcore.h"

static inline void real_load(const char *start, uint64_t nr, const uint64_t *order)
{
	const volatile char *memory = start;

	if (order)
		for (uint64_t i = 0; i < nr; i++)
			(void)memory[order[i] * DAX_PAGE_SIZE];
	else
		for (uint64_t i = 0; i < nr; i++)
			(void)memory[i * DAX_PAGE_SIZE];
}

static inline void real_store(char *start, uint64_t nr, const uint64_t *order)
{
	volatile char *memory = start;

	if (order)
		for (uint64_t i = 0; i < nr; i++)
			memory[order[i] * DAX_PAGE_SIZE] = 1;
	else
		for (uint64_t i = 0; i < nr; i++)
			memory[i * DAX_PAGE_SIZE] = 1;
}

#endif
