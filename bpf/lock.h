/* Read by ids.bpf.c: a lock in a map's value. */
#ifndef IDS_LOCK_H
#define IDS_LOCK_H

#include <linux/types.h>

#define IDS_TRIES 64 /* attempts to take a lock; if all fail, the packet passes unclassified */

/*
 * Lock a bucket or a flow, so that one CPU at a time updates it: a NIC's queues may give a flow's two directions to two
 * CPUs. Return 0 if another CPU holds the lock for too long.
 */
static __always_inline int ids_lock(__u64 *lock)
{
	int i;

	for (i = 0; i < IDS_TRIES; i++)
		if (!__sync_val_compare_and_swap(lock, 0, 1))
			return 1;
	return 0;
}

static __always_inline void ids_unlock(__u64 *lock)
{
#ifdef IDS_TSO /* where stores become visible in their order, as on x86, a plain one will do */
	asm volatile("" : : : "memory");
	*(volatile __u64 *)lock = 0;
#else
	__sync_lock_test_and_set(lock, 0);
#endif
}

#endif
