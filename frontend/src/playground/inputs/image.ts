// Pictures from a person's disk: read, scaled down in the browser, and bounded.

export const FILE_BYTES_MAX = 20 * 1024 * 1024;
/** A chat's picture: large enough to read a receipt, small enough to send. */
export const CHAT_SIDE_MAX = 1024;
const JPEG_QUALITY = 0.85;

/** `problem` is a key of the page's words. */
export class ImageRefused extends Error {
  constructor(readonly problem: string, readonly values: Record<string, number> = {}) { super(problem); }
}

async function bitmapOf(file: File): Promise<ImageBitmap> {
  if (file.size > FILE_BYTES_MAX) throw new ImageRefused("imageBytes", { max: FILE_BYTES_MAX / 1024 / 1024 });
  try {
    return await createImageBitmap(file);
  } catch {
    throw new ImageRefused("imageKind");
  }
}

function drawn(bitmap: ImageBitmap, width: number, height: number): CanvasRenderingContext2D {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new ImageRefused("imageKind");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return context;
}

/** A JPEG data URL whose longer side is at most `CHAT_SIDE_MAX` pixels. */
export async function dataUrl(file: File): Promise<string> {
  const bitmap = await bitmapOf(file);
  const scale = Math.min(1, CHAT_SIDE_MAX / Math.max(bitmap.width, bitmap.height));
  const side = (length: number): number => Math.max(1, Math.round(length * scale));
  return drawn(bitmap, side(bitmap.width), side(bitmap.height)).canvas.toDataURL("image/jpeg", JPEG_QUALITY);
}

/** RGBA pixels of the picture scaled to what a model takes, and a preview of just that. */
export async function pixels(file: File, width: number, height: number): Promise<{ data: Uint8ClampedArray; preview: string }> {
  const context = drawn(await bitmapOf(file), width, height);
  return { data: context.getImageData(0, 0, width, height).data, preview: context.canvas.toDataURL("image/png") };
}
