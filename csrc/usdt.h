/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * usdt.h -- static probes for perf, bpftrace, gdb and SystemTap
 *
 * USDT_PROBE(dax_pte_fault, args...) is one no-op instruction, with a note in
 * the library that tells the tools of the provider "daxcore" where it stands
 * and where its arguments are.  Each probe also has a semaphore: a 16-bit
 * counter that a tool raises while it is attached, so that a program can skip
 * the making of arguments nobody looks at.  All probes of this library share
 * one, see trace.h.
 *
 * Where the compiler finds no <sys/sdt.h> (Debian: systemtap-sdt-dev) there
 * are no probes and their arguments are not evaluated.
 */
#ifndef DAXCORE_USDT_H
#define DAXCORE_USDT_H

#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#define DAX_HAVE_USDT 1
#endif
#endif

#ifdef DAX_HAVE_USDT
#define SDT_USE_VARIADIC 1
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>
#define USDT_PROBE(name, ...)	STAP_PROBEV(daxcore, name, __VA_ARGS__)
#define USDT_SEMAPHORE(name)	daxcore_##name##_semaphore
#else
#define USDT_PROBE(name, ...)	((void)0)
#endif

#endif
