/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * errormsg.c -- the sentence behind an error code, one per thread
 *
 * Owns: a thread-local buffer.  Locks: none.
 * Kernel: none; the counterpart is libpmem2's pmem2_errormsg().
 */
#include "errormsg.h"

#include <stdarg.h>
#include <stdio.h>

/* Small: it lies in the static thread-local block, of which glibc keeps only
 * some 1600 bytes for libraries that are loaded late (dlopen). */
static __thread char message[240];

void set_errormsg(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
}

const char *errormsg(void)
{
	return message;
}

void clear_errormsg(void)
{
	message[0] = '\0';
}
