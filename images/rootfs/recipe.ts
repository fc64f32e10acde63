/** What makes one image differ from another. */
export interface Recipe {
  name: string;
  /** Packages beside the essential ones. */
  packages: string[];
  /** Size that the guest sees; the file is sparse. */
  sizeBytes: number;
}
