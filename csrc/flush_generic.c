/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flush_generic.c -- a CPU whose cache lines we cannot write back
 *
 * Owns: nothing.  Locks: none.  Kernel: none.
 */
#ifndef __x86_64__
#include "flush.h"

const struct flush_ops *const flush_variants[] = { NULL };

int flush_present(const struct flush_ops *ops)
{
	(void)ops;
	return 0;
}

#endif
