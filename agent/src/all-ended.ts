/**
 * As `Promise.all`, but a failure is told only when all of them have ended: nothing goes on behind the back of whoever
 * sets things right then. The first of the list that failed is the one that is told.
 */
export async function allEnded<const Works extends readonly unknown[]>(
  works: Works,
): Promise<{ -readonly [Key in keyof Works]: Awaited<Works[Key]> }> {
  const outcomes = await Promise.allSettled(works);
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  return Promise.all(works);
}
