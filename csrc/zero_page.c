/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zero_page.c -- the common 4 KiB and 2 MiB zero frames
 *
 * Owns: 4 MiB of read-only address space.
 * Locks: none; made before main(), never changed.
 * Kernel: ZERO_PAGE() and mm_get_huge_zero_page().
 */
#include "zero_page.h"

#include "daxcore/types.h"
#include "sys.h"

static void *base;

__attribute__((constructor(102))) static void zero_page_init(void)
{
	base = sys_reserve_readonly(2 * DAX_PMD_SIZE, DAX_PMD_SIZE);
}

void *zero_page_base(void)
{
	return base;
}

bool zero_page_present(void)
{
	return base;
}

bool huge_zero_page_present(void)
{
	return base && !dax_test_no_huge_zero();
}
