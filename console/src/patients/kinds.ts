// The appearance of the types of changes, by RevisionType.

export const KINDS = ["neutral", "good", "accent", "bad", "good", "neutral", "neutral", "bad"] as const;
