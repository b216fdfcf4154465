// The appearance of the types of changes, by RevisionType.

export const KINDS = ["neutral", "good", "accent", "bad", "good", "bad", "good", "bad"] as const;
