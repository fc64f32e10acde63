/** What makes one image differ from another. */
export interface Recipe {
  name: string;
  /** Packages beside the essential ones. */
  packages: string[];
  /** Size that the guest sees; the file is sparse. */
  sizeBytes: number;
  /** What is added to the plain system once and kept with it in the cache. */
  install?: Installation;
  /** Folders whose content is copied into the system at every build. */
  files?: CopiedFolder[];
  /** Port of the guest that accepts connections once the image's services are ready. */
  readyPort?: number;
}

export interface Installation {
  /** Files and folders that it depends on: other content means another plain system. */
  inputs: string[];
  run(root: string): Promise<void>;
}

export interface CopiedFolder {
  from: string;
  /** Relative to the system's root. */
  to: string;
}
