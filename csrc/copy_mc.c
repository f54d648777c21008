/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copy_mc.c -- touch the medium and survive it
 *
 * Owns: the SIGBUS handler, once armed, for the life of the process.
 * Locks: arm_lock to install it.
 * Kernel: copy_mc_to_kernel(), and the exception table behind it.
 * Differs: the exception table is a jump buffer of the thread.
 */
#define _GNU_SOURCE
#include "copy_mc.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include "errormsg.h"
#include "sys.h"

static struct mutex arm_lock;
static _Atomic bool armed;
static struct sigaction before;

/* Set while the thread is inside a guarded copy. */
static __thread sigjmp_buf *volatile recovery;

/* What is not ours goes on as if we were not here. */
static void pass_to_previous(int sig, siginfo_t *info, void *context)
{
	if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(sig, info, context);
	} else if (before.sa_handler == SIG_DFL) {
		signal(sig, SIG_DFL);	/* the access is repeated and ends it */
	} else if (before.sa_handler != SIG_IGN) {
		before.sa_handler(sig);
	}
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	if (recovery)
		siglongjmp(*recovery, 1);
	pass_to_previous(sig, info, context);
}

int copy_mc_arm(void)
{
	/* NODEFER: the jump leaves the signal mask as it was. */
	struct sigaction action = {
		.sa_sigaction = on_sigbus,
		.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK,
	};
	int ret = 0;

	mutex_lock(&arm_lock);
	if (!READ_ONCE(armed)) {
		ret = sys_set_signal(SIGBUS, &action, &before);
		if (!ret)
			smp_store_release(&armed, true);
	}
	mutex_unlock(&arm_lock);
	return ret;
}

static __cold int refused(void)
{
	recovery = NULL;
	return dax_error(-EIO, "the medium refused an access (SIGBUS): the backing file "
			 "was truncated, its file system is full, or it is broken");
}

int copy_mc(void *to, const void *from, size_t n)
{
	sigjmp_buf buf;

	if (!smp_load_acquire(&armed)) {
		memcpy(to, from, n);
		return 0;
	}
	if (sigsetjmp(buf, 0))
		return refused();
	recovery = &buf;
	memcpy(to, from, n);
	recovery = NULL;
	return 0;
}

int zero_mc(void *to, size_t n)
{
	sigjmp_buf buf;

	if (!smp_load_acquire(&armed)) {
		memset(to, 0, n);
		return 0;
	}
	if (sigsetjmp(buf, 0))
		return refused();
	recovery = &buf;
	memset(to, 0, n);
	recovery = NULL;
	return 0;
}

/* A compare-and-swap is a store to the MMU whatever it finds. */
int touch_mc(void *page)
{
	_Atomic char *byte = page;
	sigjmp_buf buf;
	char old;

	if (sigsetjmp(buf, 0))
		return refused();
	recovery = &buf;
	old = READ_ONCE(*byte);
	atomic_compare_exchange_strong(byte, &old, old);
	recovery = NULL;
	return 0;
}
