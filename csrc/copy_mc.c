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
#include <stdint.h>

#include "errormsg.h"
#include "move.h"
#include "sys.h"

static struct mutex arm_lock;
static _Atomic bool armed;
static struct sigaction before;

/* A copy in progress: where to go on, and what of it is the caller's memory. */
struct guard {
	sigjmp_buf recovery;
	const char *user;
	size_t n;
	volatile int error;	/* set by the handler */
};

/* Set while the thread is inside a guarded copy. */
static __thread struct guard *volatile guard;

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
	struct guard *g = guard;

	if (!g) {
		pass_to_previous(sig, info, context);
		return;
	}
	g->error = (uintptr_t)info->si_addr - (uintptr_t)g->user < g->n ? -EFAULT
									 : -EIO;
	siglongjmp(g->recovery, 1);
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

static __cold int refused(const struct guard *g)
{
	int error = g->error;

	guard = NULL;
	if (error == -EFAULT)
		return dax_error(error, "the caller's buffer cannot be accessed (SIGBUS): "
				 "it maps a file that was truncated, or the like");
	return dax_error(error, "the medium refused an access (SIGBUS): the backing file "
			 "was truncated, its file system is full, or it is broken");
}

static int guarded(move_fn move, void *to, const void *from, size_t n,
		   const void *user)
{
	struct guard g = { .user = user, .n = n };

	if (sigsetjmp(g.recovery, 0))
		return refused(&g);
	guard = &g;
	barrier();	/* a volatile store holds back no other */
	move(to, from, n);
	barrier();
	guard = NULL;
	return 0;
}

int copy_mc(void *to, const void *from, size_t n)
{
	if (smp_load_acquire(&armed))
		return guarded(move_bytes, to, from, n, to);
	move_bytes(to, from, n);
	return 0;
}

int move_mc(move_fn move, void *to, const void *from, size_t n)
{
	if (smp_load_acquire(&armed))
		return guarded(move, to, from, n, from);
	move(to, from, n);
	return 0;
}

/* A compare-and-swap is a store to the MMU, whatever it finds; one that adds
 * nothing a compiler may take for a load. */
static void touch_byte(void *page, const void *unused, size_t n)
{
	_Atomic char *byte = page;
	char old = READ_ONCE(*byte);

	(void)unused;
	(void)n;
	atomic_compare_exchange_strong(byte, &old, old);
}

int touch_mc(void *page)
{
	return move_mc(touch_byte, page, NULL, 1);
}
