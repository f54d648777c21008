/* SPDX-License-Identifier: BSD-3-Clause */
/* test_waitqueue.c -- keys, order and number of those that are woken */
#include "waitqueue.h"

#include <pthread.h>

#include "tap.h"

static char owner_a, owner_b;

static struct exceptional_entry_key key_of(const void *owner, dax_pgoff_t start)
{
	return (struct exceptional_entry_key){ .owner = owner, .entry_start = start };
}

/* Another index of the same owner in the bucket of @key. */
static struct exceptional_entry_key colliding(struct exceptional_entry_key key)
{
	struct exceptional_entry_key other = key;

	do {
		other.entry_start++;
	} while (wait_bucket(other) != wait_bucket(key));
	return other;
}

static bool is_woken(const struct wait_entry *wait)
{
	return wait->woken;
}

static void buckets(void)
{
	static bool used[DAX_WAIT_TABLE_ENTRIES];
	unsigned int nr = 0;

	for (dax_pgoff_t i = 0; i < 4096; i++) {
		unsigned int bucket = wait_bucket(key_of(&owner_a, i));

		MUST(bucket < DAX_WAIT_TABLE_ENTRIES);
		nr += !used[bucket];
		used[bucket] = true;
	}
	CHECK(nr > 2000);	/* neighbours do not crowd together */
}

static void nobody_there(void)
{
	EQ(wake_up_key(key_of(&owner_a, 1), WAKE_NEXT), 0);
	EQ(wake_up_key(key_of(&owner_a, 1), WAKE_ALL), 0);
	EQ(wait_count(key_of(&owner_a, 1)), 0);
}

static void collision(void)
{
	struct exceptional_entry_key a = key_of(&owner_a, 512), b = colliding(a);
	struct wait_entry first, second;

	EQ(wait_bucket(a), wait_bucket(b));
	prepare_to_wait_exclusive(&first, a);
	prepare_to_wait_exclusive(&second, b);
	EQ(wake_up_key(b, WAKE_NEXT), 1);
	CHECK(!is_woken(&first) && is_woken(&second));
	EQ(wake_up_key(b, WAKE_ALL), 0);
	CHECK(!is_woken(&first));
	EQ(wait_count(a), 1);
	EQ(wait_count(b), 0);
	EQ(wait_count_owner(&owner_a), 1);
	EQ(wait_count_owner(&owner_b), 0);
	EQ(wait_count_owner(NULL), 1);
	EQ(wake_up_key(a, WAKE_ALL), 1);
	EQ(wait_count_owner(NULL), 0);
	CHECK(finish_wait(&first) && finish_wait(&second));
}

/* The same index of another owner is another key. */
static void owners(void)
{
	struct wait_entry wait;

	prepare_to_wait_exclusive(&wait, key_of(&owner_a, 7));
	EQ(wake_up_key(key_of(&owner_b, 7), WAKE_ALL), 0);
	EQ(wake_up_key(key_of(&owner_a, 8), WAKE_ALL), 0);
	CHECK(!finish_wait(&wait));
	EQ(wait_count(key_of(&owner_a, 7)), 0);
}

static void first_come(void)
{
	struct exceptional_entry_key a = key_of(&owner_a, 3), b = colliding(a);
	struct wait_entry wait[6];

	for (int i = 0; i < 6; i++)	/* a b a b a b in one bucket */
		prepare_to_wait_exclusive(&wait[i], i % 2 ? b : a);
	for (int i = 0; i < 6; i += 2) {
		EQ(wake_up_key(a, WAKE_NEXT), 1);
		for (int j = 0; j < 6; j++)
			EQ(is_woken(&wait[j]), j % 2 == 0 && j <= i);
	}
	EQ(wake_up_key(a, WAKE_NEXT), 0);
	EQ(wait_count(b), 3);
	EQ(wake_up_key(b, WAKE_NEXT), 1);
	CHECK(is_woken(&wait[1]) && !is_woken(&wait[3]) && !is_woken(&wait[5]));
	EQ(wake_up_key(b, WAKE_ALL), 2);
	for (int i = 0; i < 6; i++)
		CHECK(finish_wait(&wait[i]));
	EQ(wait_count(a) + wait_count(b), 0);
}

/* One that leaves unwoken spends no wake-up, wherever it stood in the queue,
 * and those around it keep their order. */
static void leaving(void)
{
	struct exceptional_entry_key key = key_of(&owner_a, 11);

	for (int leaver = 0; leaver < 3; leaver++) {
		struct wait_entry wait[4];

		for (int i = 0; i < 3; i++)
			prepare_to_wait_exclusive(&wait[i], key);
		CHECK(!finish_wait(&wait[leaver]));
		EQ(wait_count(key), 2);
		prepare_to_wait_exclusive(&wait[3], key);
		EQ(wake_up_key(key, WAKE_NEXT), 1);
		CHECK(is_woken(&wait[leaver == 0 ? 1 : 0]));
		EQ(wake_up_key(key, WAKE_NEXT), 1);
		CHECK(!is_woken(&wait[3]));
		EQ(wake_up_key(key, WAKE_NEXT), 1);
		CHECK(is_woken(&wait[3]));
		for (int i = 0; i < 4; i++)
			EQ(finish_wait(&wait[i]), i != leaver);
		EQ(wait_count(key), 0);
	}
}

/* A waiter may be used again, and waking before sleeping is not lost. */
static void used_again(void)
{
	struct exceptional_entry_key key = key_of(&owner_a, 12);
	struct wait_entry wait;

	for (int i = 0; i < 3; i++) {
		prepare_to_wait_exclusive(&wait, key);
		CHECK(!is_woken(&wait));
		EQ(wake_up_key(key, WAKE_NEXT), 1);
		wait_schedule(&wait);	/* returns at once */
		CHECK(finish_wait(&wait));
	}
	EQ(wait_count(key), 0);
}

/* ---- sleeping threads -------------------------------------------------------- */

enum { SLEEPERS = 8, ROUNDS = 300 };

static struct exceptional_entry_key sleep_key[2];
static _Atomic unsigned int queued, woken[2];
static pthread_barrier_t round_over;

static void *sleeper(void *arg)
{
	unsigned int which = (unsigned int)(uintptr_t)arg % 2;

	for (int i = 0; i < ROUNDS; i++) {
		struct wait_entry wait;

		prepare_to_wait_exclusive(&wait, sleep_key[which]);
		queued++;
		wait_schedule(&wait);
		MUST(finish_wait(&wait));
		woken[which]++;
		pthread_barrier_wait(&round_over);
	}
	return NULL;
}

/* Four sleepers on each of two keys of one bucket: each wake-up is one. */
static void wake_round(int round)
{
	while (queued < SLEEPERS)
		sched_yield();
	queued = 0;
	if (round % 3 == 0)
		EQ(wake_up_key(sleep_key[0], WAKE_ALL), SLEEPERS / 2);
	for (unsigned int n = 0; round % 3 && n < SLEEPERS / 2; n++) {
		EQ(wake_up_key(sleep_key[0], WAKE_NEXT), 1);
		while (woken[0] <= n)
			sched_yield();
		EQ(woken[0], n + 1);
		EQ(woken[1], 0);
	}
	EQ(wake_up_key(sleep_key[0], WAKE_NEXT), 0);
	EQ(wake_up_key(sleep_key[1], WAKE_ALL), SLEEPERS / 2);
	while (woken[0] + woken[1] < SLEEPERS)
		sched_yield();
	woken[0] = woken[1] = 0;
	pthread_barrier_wait(&round_over);
}

static void threads(void)
{
	pthread_t thread[SLEEPERS];

	sleep_key[0] = key_of(&owner_a, 99);
	sleep_key[1] = colliding(sleep_key[0]);
	pthread_barrier_init(&round_over, NULL, SLEEPERS + 1);
	for (uintptr_t i = 0; i < SLEEPERS; i++)
		MUST(!pthread_create(&thread[i], NULL, sleeper, (void *)i));
	for (int i = 0; i < ROUNDS; i++)
		wake_round(i);
	for (int i = 0; i < SLEEPERS; i++)
		pthread_join(thread[i], NULL);
	EQ(wait_count(sleep_key[0]) + wait_count(sleep_key[1]), 0);
}

int main(void)
{
	plan(8);
	run("keys spread over the buckets", buckets);
	run("waking nobody", nobody_there);
	run("keys in one bucket do not take each other's wake-up", collision);
	run("owner and index are both the key", owners);
	run("first come, first served, one at a time or all", first_come);
	run("leaving without a wake-up", leaving);
	run("a wake-up before the sleep is not lost", used_again);
	run("eight sleepers, two keys, one bucket, 300 rounds", threads);
	return done();
}
